package openai

import (
	"slices"
	"unicode/utf8"
)

// Request is one line of a batch's input file.
type Request struct {
	CustomID, Method, URL string
	Model                 string // body.model
	Body                  []byte // the raw body, byte for byte; aliases the line
}

// Finding is an error in a line.
type Finding struct {
	Code    string // for programs
	Param   string // the parameter, "" is written as null
	Message string // for people
}

// Codes of findings. Codes that OpenAI's documentation does not list are those of
// its API for the same error on other routes.
const (
	CodeInvalidJSONLine      = "invalid_json_line"
	CodeMissingParameter     = "missing_required_parameter"
	CodeInvalidURL           = "invalid_url"
	CodeInvalidMethod        = "invalid_method"
	CodeInvalidRequest       = "invalid_request"
	CodeStreamingUnsupported = "streaming_unsupported"
	CodeStringTooLong        = "string_above_max_length" // custom_id
)

// MaxCustomID is the maximum length of a custom_id in characters (code points).
const MaxCustomID = 512

// ParseRequest parses a line of the input of a batch for endpoint. It is the
// one parser for validating and for running a batch.
//
// It returns everything that is wrong with the line, and the parts of the
// request that are not. A line that is not one JSON object in UTF-8, with no
// name twice in any object, and at most 500 levels of
// nesting (the line itself is one) has only that finding. Escapes of lone surrogates are JSON: they reach
// the server as they are, but a custom_id has none. Unknown members are
// allowed. What needs other lines or the pool is not found here:
// duplicate_custom_id, model_not_found.
func ParseRequest(line []byte, endpoint string) (Request, []Finding) {
	line = trimSpace(line)
	if err := validateLine(line); err != nil {
		return Request{}, []Finding{{Code: CodeInvalidJSONLine, Message: notJSON + " Reason: " + err.Error() + "."}}
	}
	if line[0] != '{' {
		return Request{}, []Finding{{Code: CodeInvalidJSONLine, Message: notJSON + " Reason: it is " + kindOf(line) + " instead of an object."}}
	}
	var customID, method, url, body []byte
	for m := membersOf(line); m.next(); {
		switch string(m.name()) {
		case "custom_id":
			customID = m.value
		case "method":
			method = m.value
		case "url":
			url = m.value
		case "body":
			body = m.value
		}
	}
	p := requestParser{endpoint: endpoint}
	p.customID(customID)
	p.method(method)
	p.url(url)
	p.body(body)
	return p.request, p.findings
}

const notJSON = "This line is not parseable as valid JSON."

// requestParser collects the parts of a line and its findings. Missing values are nil.
type requestParser struct {
	endpoint string
	request  Request
	findings []Finding
}

func (p *requestParser) find(code, param, message string) {
	p.findings = append(p.findings, Finding{Code: code, Param: param, Message: message})
}

func (p *requestParser) customID(raw []byte) {
	id, ok := p.required("custom_id", raw)
	if !ok {
		return
	}
	if validate(raw) != nil { // results would name another one
		p.find(CodeInvalidRequest, "custom_id", "Invalid 'custom_id': it has an escape of a lone surrogate, which is no character.")
		return
	}
	p.request.CustomID = id
	if n := utf8.RuneCountInString(id); n > MaxCustomID {
		p.find(CodeStringTooLong, "custom_id", InvalidRequest("", "",
			"Invalid 'custom_id': string too long. Expected a string with maximum length %d, but got a string with length %d instead.", MaxCustomID, n).Message)
	}
}

func (p *requestParser) method(raw []byte) {
	if string(raw) == `"POST"` {
		p.request.Method = "POST"
		return
	}
	if method, ok := p.required("method", raw); ok {
		p.request.Method = method
		if method != "POST" {
			p.find(CodeInvalidMethod, "method", "Invalid method: '"+clip(method)+"'. Every request of a batch must use 'POST'.")
		}
	}
}

func (p *requestParser) url(raw []byte) {
	if len(raw) == len(p.endpoint)+2 && string(raw[1:len(raw)-1]) == p.endpoint && raw[0] == '"' {
		p.request.URL = p.endpoint
		return
	}
	if url, ok := p.required("url", raw); ok {
		p.request.URL = url
		if url != p.endpoint {
			p.find(CodeInvalidURL, "url", "The URL '"+clip(url)+"' of this request does not match the endpoint '"+p.endpoint+"' of the batch.")
		}
	}
}

// required decodes a required non-empty string.
func (p *requestParser) required(param string, raw []byte) (string, bool) {
	if raw == nil || isNull(raw) || string(raw) == `""` {
		p.find(CodeMissingParameter, param, MissingParameter(param).Message)
		return "", false
	}
	if raw[0] != '"' {
		p.find(CodeMissingParameter, param, InvalidType(param, "a string", kindOf(raw)).Message)
		return "", false
	}
	return unquote(raw), true
}

func (p *requestParser) body(raw []byte) {
	switch {
	case raw == nil || isNull(raw):
		p.find(CodeMissingParameter, "body", MissingParameter("body").Message)
		return
	case raw[0] != '{':
		p.find(CodeMissingParameter, "body", InvalidType("body", "an object", kindOf(raw)).Message)
		return
	}
	var (
		b     bodyMembers
		empty = true
	)
	for m := membersOf(raw); m.next(); empty = false {
		b.take(&m)
	}
	if empty {
		p.find(CodeMissingParameter, "body", MissingParameter("body").Message)
		return
	}
	p.request.Body = slices.Clip(raw)
	p.model(b.model)
	p.stream(b.stream)
	p.content(&b)
}

// bodyMembers are the members of a body that are checked.
type bodyMembers struct {
	model, stream, background, messages, prompt, promptEmbeds, input, query, documents []byte
}

func (b *bodyMembers) take(m *members) {
	switch string(m.name()) {
	case "model":
		b.model = m.value
	case "stream":
		b.stream = m.value
	case "background":
		b.background = m.value
	case "messages":
		b.messages = m.value
	case "prompt":
		b.prompt = m.value
	case "prompt_embeds":
		b.promptEmbeds = m.value
	case "input":
		b.input = m.value
	case "query":
		b.query = m.value
	case "documents":
		b.documents = m.value
	}
}

func (p *requestParser) model(raw []byte) {
	switch {
	case raw == nil || isNull(raw) || string(raw) == `""`:
		p.find(CodeInvalidRequest, "body.model", MissingParameter("body.model").Message)
	case raw[0] != '"':
		p.find(CodeInvalidRequest, "body.model", InvalidType("body.model", "a string", kindOf(raw)).Message)
	default:
		p.request.Model = unquote(raw)
	}
}

// stream refuses every value but false and null: vLLM takes 1 and "true" for
// true.
func (p *requestParser) stream(raw []byte) {
	switch {
	case raw == nil || isNull(raw) || raw[0] == 'f':
	case raw[0] == 't':
		p.find(CodeStreamingUnsupported, "body.stream", "Streaming is not supported in a batch: 'body.stream' must not be true.")
	default:
		p.find(CodeInvalidRequest, "body.stream", InvalidType("body.stream", "a boolean", kindOf(raw)).Message)
	}
}

// content checks for bodies that each endpoint certainly refuses. vLLM accepts more than
// OpenAI: embeddings of messages and completions of prompt_embeds. Score, classify and
// pooling have several forms each, which only the server checks.
func (p *requestParser) content(b *bodyMembers) {
	switch p.endpoint {
	case "/v1/chat/completions", "/v1/messages":
		p.messages(b.messages)
	case "/v1/completions":
		p.oneOf("prompt", b.prompt, b.promptEmbeds)
	case "/v1/embeddings":
		p.oneOf("input", b.input, b.messages)
	case "/v1/moderations":
		p.oneOf("input", b.input)
	case "/v1/responses":
		p.oneOf("input", b.input, b.prompt)
		if err := refuseBackground("body.background", b.background); err != nil {
			p.find(CodeInvalidRequest, err.Param, err.Message)
		}
	case "/v1/rerank":
		p.oneOf("query", b.query)
		p.oneOf("documents", b.documents)
	}
}

func (p *requestParser) messages(raw []byte) {
	const param = "body.messages"
	switch {
	case raw == nil || isNull(raw):
		p.find(CodeInvalidRequest, param, MissingParameter(param).Message)
	case raw[0] != '[':
		p.find(CodeInvalidRequest, param, InvalidType(param, "an array", kindOf(raw)).Message)
	case raw[skipSpace(raw, 1)] == ']':
		p.find(CodeInvalidRequest, param, "Invalid '"+param+"': empty array. Expected an array with minimum length 1, but got an empty array instead.")
	}
}

// oneOf requires one of the values; param is the name of the first.
func (p *requestParser) oneOf(param string, values ...[]byte) {
	for _, raw := range values {
		if raw != nil && !isNull(raw) {
			return
		}
	}
	param = "body." + param
	p.find(CodeInvalidRequest, param, MissingParameter(param).Message)
}
