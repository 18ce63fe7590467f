package upstreams

import (
	"encoding/json"
	"net/http"
	"strconv"
	"strings"
	"unicode/utf8"
)

// messageLimit limits the size of a server's message, in bytes.
const messageLimit = 4 << 10

// serverError is the parsed body of an error, in any of the formats that model
// servers use.
type serverError struct {
	message, kind, param, code string
	// whole reports whether the body has OpenAI's envelope with all its keys.
	whole bool
	// number is the HTTP status in the error, 0 for none.
	number int
}

// readError parses the body of an error. ok is false if it is not a JSON object or
// has no message.
func readError(body []byte) (e serverError, ok bool) {
	var top map[string]json.RawMessage
	if json.Unmarshal(body, &top) != nil {
		return e, false
	}
	if inner, there := top["error"]; there {
		var fields map[string]json.RawMessage
		switch {
		case json.Unmarshal(inner, &fields) == nil && fields != nil:
			e.fields(fields)
			e.whole = hasAll(fields)
			e.message = clipText(e.message)
			return e, e.message != ""
		case json.Unmarshal(inner, &e.message) == nil && e.message != "":
			rest := serverError{}
			rest.fields(top)
			if rest.message != "" && rest.message != e.message {
				e.message += ": " + rest.message
			}
			e.message = clipText(e.message)
			return e, true
		}
	}
	e.fields(top)
	if e.message == "" {
		e.message = detail(top["detail"])
	}
	e.message = clipText(e.message)
	return e, e.message != ""
}

// fields parses the members of an error.
func (e *serverError) fields(of map[string]json.RawMessage) {
	e.message, e.kind, e.param = text(of["message"]), text(of["type"]), text(of["param"])
	if e.kind == "error" { // the type of the envelope, as in Anthropic's API and older versions of vLLM
		e.kind = ""
	}
	if e.code = text(of["code"]); e.code == "" {
		if json.Unmarshal(of["code"], &e.number) == nil && e.number != 0 {
			e.code = strconv.Itoa(e.number)
		}
	} else if n, err := strconv.Atoi(e.code); err == nil {
		e.number = n
	}
}

func hasAll(fields map[string]json.RawMessage) bool {
	for _, name := range [...]string{"message", "type", "param", "code"} {
		if _, there := fields[name]; !there {
			return false
		}
	}
	return text(fields["message"]) != ""
}

// text parses a string; it returns "" for anything else.
func text(raw json.RawMessage) string {
	var s string
	if json.Unmarshal(raw, &s) != nil {
		return ""
	}
	return s
}

// detail parses FastAPI's error: a text, or a list of validation errors with their
// locations.
func detail(raw json.RawMessage) string {
	if s := text(raw); s != "" {
		return s
	}
	var list []struct {
		Loc []any  `json:"loc"`
		Msg string `json:"msg"`
	}
	if json.Unmarshal(raw, &list) != nil {
		var one struct {
			Message string `json:"message"`
			Error   string `json:"error"`
		}
		if json.Unmarshal(raw, &one) == nil {
			return one.Message + one.Error
		}
		return ""
	}
	var found []string
	for _, item := range list {
		var at []string
		for _, part := range item.Loc {
			switch part := part.(type) {
			case string:
				at = append(at, part)
			case float64:
				at = append(at, strconv.FormatFloat(part, 'f', -1, 64))
			}
		}
		if len(at) > 0 {
			item.Msg = strings.Join(at, ".") + ": " + item.Msg
		}
		found = append(found, item.Msg)
	}
	return strings.Join(found, "; ")
}

// isAboutMember reports whether an error says, outside of its message, that it is about a
// member of the request or something in it: by its param, or by a location of FastAPI
// (https://fastapi.tiangolo.com/tutorial/handling-errors/), which begins with "body".
func isAboutMember(body []byte, name string) bool {
	if e, ok := readError(body); ok {
		if rest, found := strings.CutPrefix(e.param, name); found && (rest == "" || rest[0] == '.' || rest[0] == '[') {
			return true
		}
	}
	var fastAPI struct {
		Detail []struct {
			Loc []any `json:"loc"`
		} `json:"detail"`
	}
	if json.Unmarshal(body, &fastAPI) != nil {
		return false
	}
	for _, item := range fastAPI.Detail {
		if len(item.Loc) > 1 && item.Loc[0] == "body" && item.Loc[1] == name {
			return true
		}
	}
	return false
}

// boundedText returns a plain-text body as a message.
func boundedText(body []byte) string {
	s := strings.TrimSpace(strings.ToValidUTF8(string(body[:min(len(body), messageLimit)]), "�"))
	if s == "{}" || s == "null" {
		return ""
	}
	return s
}

func clipText(s string) string {
	if len(s) <= messageLimit {
		return s
	}
	end := messageLimit
	for end > 0 && !utf8.RuneStart(s[end]) {
		end--
	}
	return s[:end] + "…"
}

// status returns the HTTP status that an error without one corresponds to.
func (e *serverError) status() int {
	if 400 <= e.number && e.number <= 599 {
		return e.number
	}
	kind := strings.ToLower(e.kind + " " + e.code)
	for _, known := range [...]struct {
		word   string
		status int
	}{
		{"notfound", http.StatusNotFound},
		{"not_found", http.StatusNotFound},
		{"authentication", http.StatusUnauthorized},
		{"permission", http.StatusForbidden},
		{"rate_limit", http.StatusTooManyRequests},
		{"ratelimit", http.StatusTooManyRequests},
		{"overloaded", http.StatusServiceUnavailable},
		{"unavailable", http.StatusServiceUnavailable},
		{"badrequest", http.StatusBadRequest},
		{"invalid_request", http.StatusBadRequest},
		{"context_length", http.StatusBadRequest},
	} {
		if strings.Contains(kind, known.word) {
			return known.status
		}
	}
	return http.StatusInternalServerError
}
