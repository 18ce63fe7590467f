package vllm

import (
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"
)

// What an answer assembled from a stream has in common with the plain answer to the
// same request: all values, but for members that are null in the plain answer and
// those listed here. A gateway that streams plain requests would change
// them.
func (s *suite) assembled(t *testing.T) {
	url := s.servers[0].URL
	prompts := body{"prompt": []string{"The moon", "The sun"}}
	const calls = "choices.0.message.tool_calls"
	for _, c := range []struct {
		name, path string
		body       body
		differs    []string
	}{
		{"chat", chatPath, chat("Why do tides change?", 64), nil},
		{"chat that stops", chatPath, chat("Why do tides change?", 64).with(body{"stop": []string{"e"}}), nil},
		{"chat of three choices", chatPath, chat("Why do tides change?", 32).with(body{"n": 3, "temperature": 1}), nil},
		{"chat with logprobs", chatPath, chat("Why do tides change?", 32).with(body{"logprobs": true, "top_logprobs": 2}), nil},
		{"chat with token ids", chatPath, chat("Why do tides change?", 32).with(body{"return_token_ids": true}), nil},
		// The plain answer has the arguments parsed and written again.
		{"chat with a tool", chatPath, forcedTool(chat("Is it high tide?", 300)), []string{"choices.0.message.tool_calls.0.function.arguments"}},
		// One that max_tokens cuts off in a call is text in the plain answer. The stream has the
		// call as well if the model has written its name by then.
		{"chat with half a tool", chatPath, forcedTool(chat("Is it high tide?", 18)), []string{"choices.0.message.content", calls}},
		{"completion", completionsPath, completion("Tides change", 64), nil},
		{"completion with logprobs", completionsPath, completion("Tides change", 32).with(body{"logprobs": 2}), nil},
		{"completion of two prompts", completionsPath, completion("", 16).with(prompts), nil},
		{"completion of two choices", completionsPath, completion("Tides change", 16).with(body{"n": 2, "temperature": 1}), nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			ask(t, url, c.path, c.body) // now the prefix cache has what it will have
			var plain map[string]any
			decode(t, ask(t, url, c.path, c.body), &plain)
			stream := assemble(t, ask(t, url, c.path, c.body.streamed()))
			got := differences("", plain, stream)
			got = slices.DeleteFunc(got, func(path string) bool { // ids and times are new each time
				return slices.Contains([]string{"id", "created", "object", "choices.0.message.tool_calls.0.id"}, path)
			})
			if c.name == "chat with half a tool" && !slices.Contains(got, calls) {
				got = append(got, calls) // cut off before the name
			}
			if !slices.Equal(got, c.differs) {
				t.Errorf("they differ in %q, want %q\n plain %v\nstream %v", got, c.differs, plain, stream)
			}
		})
	}
}

// assemble makes a plain answer of a stream's events: deltas become messages,
// strings and lists are put together, and of other values the last one counts.
func assemble(t *testing.T, stream []byte) map[string]any {
	t.Helper()
	whole := map[string]any{}
	choices := map[int]any{}
	for _, e := range events(t, stream) {
		var event map[string]any
		decode(t, e, &event)
		for _, choice := range list(event["choices"]) {
			part := choice.(map[string]any)
			if delta, ok := part["delta"]; ok {
				delete(part, "delta")
				part["message"] = delta
			}
			i := int(part["index"].(float64))
			choices[i] = joined("choice", choices[i], part)
		}
		delete(event, "choices")
		for name, value := range event {
			if value != nil {
				whole[name] = value
			}
		}
	}
	all := make([]any, len(choices))
	for i := range all {
		all[i] = choices[i]
	}
	whole["choices"] = all
	return whole
}

// constant are the strings that are not continued by the next event but repeated.
var constant = []string{"role", "finish_reason", "stop_reason", "id", "type", "name"}

// joined returns a member that is continued by an event.
func joined(name string, so, more any) any {
	if so == nil || more == nil {
		if more == nil {
			return so
		}
		so = emptyOf(more)
	}
	switch more := more.(type) {
	case string:
		if slices.Contains(constant, name) {
			return more
		}
		return so.(string) + more
	case map[string]any:
		both := so.(map[string]any)
		for member, value := range more {
			both[member] = joined(member, both[member], value)
		}
		return both
	case []any:
		if name != "tool_calls" {
			return append(so.([]any), more...)
		}
		calls := so.([]any)
		for _, call := range more {
			part := call.(map[string]any)
			i := int(part["index"].(float64))
			delete(part, "index")
			for len(calls) <= i {
				calls = append(calls, map[string]any{})
			}
			calls[i] = joined("call", calls[i], part)
		}
		return calls
	}
	return more
}

func emptyOf(value any) any {
	switch value.(type) {
	case string:
		return ""
	case map[string]any:
		return map[string]any{}
	case []any:
		return []any{}
	}
	return nil
}

func list(value any) []any {
	all, _ := value.([]any)
	return all
}

// differences are the paths at which two JSON values differ, sorted. That one has a
// member which is null and the other has not is no difference.
func differences(path string, a, b any) []string {
	below := func(name string) string {
		if path == "" {
			return name
		}
		return path + "." + name
	}
	switch a := a.(type) {
	case map[string]any:
		b, ok := b.(map[string]any)
		if !ok {
			return []string{path}
		}
		var all []string
		for name := range a {
			if a[name] != nil || b[name] != nil {
				all = append(all, differences(below(name), a[name], b[name])...)
			}
		}
		for name := range b {
			if _, known := a[name]; !known && b[name] != nil {
				all = append(all, below(name))
			}
		}
		slices.Sort(all)
		return all
	case []any:
		b, ok := b.([]any)
		if !ok || len(a) != len(b) {
			return []string{path}
		}
		var all []string
		for i := range a {
			all = append(all, differences(below(fmt.Sprint(i)), a[i], b[i])...)
		}
		return all
	}
	if reflect.DeepEqual(a, b) {
		return nil
	}
	return []string{path}
}

// TestAssemble checks that the comparison finds exactly the missing and the additional
// members of a stream.
func TestAssemble(t *testing.T) {
	const stream = `data: {"id":"a","choices":[{"index":0,"delta":{"role":"assistant","content":""},"finish_reason":null}]}

data: {"id":"a","choices":[{"index":0,"delta":{"content":"high "},"logprobs":{"content":[{"token":"high "}]},"finish_reason":null}]}

data: {"id":"a","choices":[{"index":0,"delta":{"content":"tide"},"logprobs":{"content":[{"token":"tide"}]},"finish_reason":"stop"}]}

data: {"id":"a","choices":[{"index":1,"delta":{"tool_calls":[{"index":0,"id":"c","function":{"name":"f","arguments":"{"}}]}}]}

data: {"id":"a","choices":[{"index":1,"delta":{"tool_calls":[{"index":0,"function":{"arguments":"}"}}]}}]}

data: {"id":"a","choices":[],"usage":{"total_tokens":3}}

data: [DONE]

`
	const whole = `{"id":"a","choices":[{"index":0,"message":{"role":"assistant","content":"high tide","refusal":null},
		"logprobs":{"content":[{"token":"high "},{"token":"tide"}]},"finish_reason":"stop"},
		{"index":1,"message":{"tool_calls":[{"id":"c","function":{"name":"f","arguments":"{}"}}]}}],"usage":{"total_tokens":3}}`
	for _, c := range []struct {
		name, plain string
		want        []string
	}{
		{"the same", whole, nil},
		{"another text", strings.Replace(whole, "high tide", "low tide", 1), []string{"choices.0.message.content"}},
		{"another token", strings.Replace(whole, `"token":"tide"`, `"token":"ebb"`, 1), []string{"choices.0.logprobs.content.1.token"}},
		{"a token more", strings.Replace(whole, `{"token":"tide"}`, `{"token":"ti"},{"token":"de"}`, 1), []string{"choices.0.logprobs.content"}},
		{"other arguments", strings.Replace(whole, `"{}"`, `"{ }"`, 1), []string{"choices.1.message.tool_calls.0.function.arguments"}},
		{"a member that the stream lacks", strings.Replace(whole, `"refusal":null`, `"refusal":"no"`, 1), []string{"choices.0.message.refusal"}},
		{"a member that the stream has", strings.Replace(whole, `"id":"a",`, "", 1), []string{"id"}},
		{"a choice less", whole[:strings.Index(whole, ",\n\t\t{\"index\":1")] + `],"usage":{"total_tokens":3}}`, []string{"choices"}},
	} {
		var plain map[string]any
		decode(t, []byte(c.plain), &plain)
		if got := differences("", plain, assemble(t, []byte(stream))); !slices.Equal(got, c.want) {
			t.Errorf("%s: the differences are %q, want %q", c.name, got, c.want)
		}
	}
}
