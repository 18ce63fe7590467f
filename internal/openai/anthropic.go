package openai

import (
	"encoding/json"
	"net/http"
	"strings"
)

const messagesPath = "/v1/messages"

// SpeaksAnthropic reports whether clients of path speak Anthropic's API, also
// where the gateway serves no such route (/v1/messages/batches).
func SpeaksAnthropic(path string) bool {
	rest, ok := strings.CutPrefix(path, messagesPath)
	return ok && (rest == "" || rest[0] == '/')
}

// AnthropicError returns the body of an error of Anthropic's API, which is also
// the data of an event `error` (https://docs.claude.com/en/api/errors).
func AnthropicError(status int, message string) []byte {
	type inner struct {
		Type    string `json:"type"`
		Message string `json:"message"`
	}
	text, err := json.Marshal(struct {
		Type  string `json:"type"`
		Error inner  `json:"error"`
	}{"error", inner{anthropicType(status), message}})
	if err != nil { // strings always marshal
		panic(err)
	}
	return text
}

// anthropicType returns Anthropic's type of error for a status. Statuses that
// Anthropic does not list have the type of their class; 503 has the type of Anthropic's
// 529.
func anthropicType(status int) string {
	switch status {
	case http.StatusUnauthorized:
		return "authentication_error"
	case http.StatusForbidden:
		return "permission_error"
	case http.StatusNotFound:
		return "not_found_error"
	case http.StatusRequestEntityTooLarge:
		return "request_too_large"
	case http.StatusTooManyRequests:
		return "rate_limit_error"
	case http.StatusServiceUnavailable, 529:
		return "overloaded_error"
	case http.StatusGatewayTimeout:
		return "timeout_error"
	}
	if status < http.StatusInternalServerError {
		return "invalid_request_error"
	}
	return "api_error"
}
