package vllmsim

import (
	"encoding/json"
	"slices"
)

// tool is the part of a tool, or of a choice of one, that counts here.
type tool struct {
	Type     string `json:"type"`
	Function struct {
		Name string `json:"name"`
	} `json:"function"`
}

// chooseTool decides which tool the answer calls: the one that tool_choice names,
// or the first when one is required.
func (r *request) chooseTool() error {
	var tools []tool
	if raw := r.slice(r.tools); len(raw) > 0 && json.Unmarshal(raw, &tools) != nil {
		return invalidField("list_type", "tools", "Input should be a valid list")
	}
	raw := r.slice(r.toolChoice)
	switch string(raw) {
	case "", "null", `"none"`:
		return nil
	}
	if len(tools) == 0 {
		return badRequest("tool_choice", "When using `tool_choice`, `tools` must be set.")
	}
	switch string(raw) {
	case `"auto"`:
		return nil
	case `"required"`:
		r.call = tools[0].Function.Name
		return nil
	}
	var named tool
	if json.Unmarshal(raw, &named) != nil || named.Function.Name == "" {
		return badRequest("tool_choice", "Invalid value for `tool_choice`: %s! Only named tools, \"none\", \"auto\" or \"required\" are supported.", raw)
	}
	if !slices.ContainsFunc(tools, func(t tool) bool { return t.Function.Name == named.Function.Name }) {
		return badRequest("tool_choice", "The tool specified in `tool_choice` does not match any of the specified `tools`")
	}
	r.call = named.Function.Name
	return nil
}

// whole is the finish reason of an answer that max_tokens did not cut.
func (a *answer) whole() string {
	if a.req.call != "" {
		return `"tool_calls"`
	}
	return `"stop"`
}

// The arguments of a call are an object with the text of the answer. One that
// max_tokens cut is cut in its middle.
const (
	argumentsOpen  = `{"answer":"`
	argumentsClose = `"}`
)

// appendArguments appends the part of the arguments that the ith token is, as it
// stands in the object.
func (a *answer) appendArguments(dst []byte, i, choice int) []byte {
	if i == 0 {
		dst = append(dst, argumentsOpen...)
	}
	quoted := quote(nil, a.appendToken(nil, i, choice))
	dst = append(dst, quoted[1:len(quoted)-1]...)
	if i == a.tokens-1 && !a.cut {
		dst = append(dst, argumentsClose...)
	}
	return dst
}

// appendCallHead opens a call.
func (a *answer) appendCallHead(dst []byte, choice int) []byte {
	dst = append(dst, `"id":"chatcmpl-tool-`...)
	dst = append(dst, a.id[:]...)
	if choice > 0 {
		dst = appendInt(append(dst, '.'), choice)
	}
	dst = append(dst, `","type":"function","function":{"name":`...)
	dst = quote(dst, a.req.call)
	return append(dst, `,"arguments":`...)
}

// appendCalls appends the calls and the reasoning of a message. vLLM 0.32 leaves
// an empty list of calls out and has another name for the reasoning.
func (a *answer) appendCalls(dst []byte, choice int) []byte {
	if !a.newer || a.req.call != "" {
		dst = append(dst, `,"tool_calls":[`...)
		if a.req.call != "" {
			dst = a.appendCall(dst, choice)
		}
		dst = append(dst, ']')
	}
	if a.newer {
		return append(dst, `,"reasoning":null`...)
	}
	return append(dst, `,"reasoning_content":null`...)
}

// appendCall appends the whole call of a choice.
func (a *answer) appendCall(dst []byte, choice int) []byte {
	a.tmp = a.tmp[:0]
	for i := range a.tokens {
		a.tmp = a.appendArguments(a.tmp, i, choice)
	}
	dst = a.appendCallHead(append(dst, '{'), choice)
	return append(quote(dst, a.tmp), "}}"...)
}

// appendCallDelta appends the part of a call that the ith token is.
func (a *answer) appendCallDelta(dst []byte, i, choice int) []byte {
	dst = append(dst, `{"index":0,`...)
	if i == 0 {
		dst = a.appendCallHead(dst, choice)
	} else {
		dst = append(dst, `"function":{"arguments":`...)
	}
	a.tmp = a.appendArguments(a.tmp[:0], i, choice)
	return append(quote(dst, a.tmp), "}}"...)
}
