package openai

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// Types of errors, as OpenAI names them.
const (
	TypeInvalidRequest = "invalid_request_error"
	TypeServer         = "server_error"
	TypeRateLimit      = "rate_limit_error"
)

// Error is an error response of the API. Only WriteError writes it, so that every client
// gets the envelope of its API
// (https://platform.openai.com/docs/guides/error-codes,
// https://docs.claude.com/en/api/errors).
type Error struct {
	Status  int    // HTTP status, 400 to 599
	Message string // for people: the error and its location
	Type    string // TypeInvalidRequest, TypeServer, …
	Param   string // the parameter that is wrong; "" is written as null
	Code    string // for programs; "" is written as null

	// RetryAfter is sent in whole seconds, rounded up, when positive.
	RetryAfter time.Duration
	// NoRetry sends x-should-retry: false, which OpenAI's SDKs obey, for
	// statuses that they would otherwise retry in vain (409, 5xx).
	NoRetry bool

	cause error
}

// Error is the message with the status, for logs.
func (e *Error) Error() string {
	if e.cause != nil {
		return fmt.Sprintf("%d: %s: %v", e.Status, e.Message, e.cause)
	}
	return fmt.Sprintf("%d: %s", e.Status, e.Message)
}

// Unwrap returns the error that the answer was made from, if any.
func (e *Error) Unwrap() error { return e.cause }

// WithCause keeps err for logs. Clients never see it.
func (e *Error) WithCause(err error) *Error {
	c := *e
	c.cause = err
	return &c
}

type envelope struct {
	Error envelopeBody `json:"error"`
}

type envelopeBody struct {
	Message string  `json:"message"`
	Type    string  `json:"type"`
	Param   *string `json:"param"`
	Code    *string `json:"code"`
}

// MarshalJSON writes the envelope, all four keys always present.
func (e *Error) MarshalJSON() ([]byte, error) {
	return json.Marshal(envelope{envelopeBody{e.Message, e.Type, orNull(e.Param), orNull(e.Code)}})
}

func orNull(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}

// WriteError answers r with err in the form of the API that r's path belongs to:
// OpenAI's envelope, or Anthropic's below /v1/messages. An error that is no
// *Error is answered as 500 without its text; the caller logs it.
func WriteError(w http.ResponseWriter, r *http.Request, err error) {
	e, ok := errors.AsType[*Error](err)
	if !ok {
		e = Internal(err)
	}
	h := w.Header()
	for _, stale := range []string{"Content-Length", "Content-Encoding", "Content-Disposition", "ETag", "Last-Modified", "Accept-Ranges"} {
		h.Del(stale)
	}
	h.Set("Content-Type", "application/json")
	h.Set("X-Content-Type-Options", "nosniff")
	if e.RetryAfter > 0 {
		h.Set("Retry-After", strconv.Itoa(int(math.Ceil(e.RetryAfter.Seconds()))))
	}
	if e.NoRetry {
		h.Set("X-Should-Retry", "false")
	}
	body := e.body(r.URL.Path)
	h.Set("Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(e.Status)
	_, _ = w.Write(body) // an error means that the client has disconnected
}

// body returns the body of the answer to a request for path.
func (e *Error) body(path string) []byte {
	if SpeaksAnthropic(path) {
		return AnthropicError(e.Status, e.Message)
	}
	text, err := json.Marshal(e)
	if err != nil { // strings always marshal
		panic(err)
	}
	return text
}

// InvalidRequest is a 400 about param ("" for none).
func InvalidRequest(param, code, format string, args ...any) *Error {
	return &Error{Status: http.StatusBadRequest, Message: fmt.Sprintf(format, args...), Type: TypeInvalidRequest, Param: param, Code: code}
}

// MissingParameter is the 400 for a missing required parameter.
func MissingParameter(param string) *Error {
	return InvalidRequest(param, "missing_required_parameter", "Missing required parameter: '%s'.", param)
}

// InvalidType is the 400 for a parameter of the wrong JSON type; want and got
// come with their article, as in "a string" and "an array".
func InvalidType(param, want, got string) *Error {
	return InvalidRequest(param, "invalid_type", "Invalid type for '%s': expected %s, but got %s instead.", param, want, got)
}

// InvalidValue is the 400 for a value outside those supported.
func InvalidValue(param, value string, supported ...string) *Error {
	quoted := make([]string, len(supported))
	for i, s := range supported {
		quoted[i] = "'" + s + "'"
	}
	return InvalidRequest(param, "invalid_value", "Invalid value: '%s'. Supported values are: %s.", value, listed(quoted))
}

func listed(words []string) string {
	if len(words) < 2 {
		return strings.Join(words, "")
	}
	last := len(words) - 1
	return strings.Join(words[:last], ", ") + ", and " + words[last]
}

// NotFound is a 404 with OpenAI's type for it.
func NotFound(param, format string, args ...any) *Error {
	return &Error{Status: http.StatusNotFound, Message: fmt.Sprintf(format, args...), Type: TypeInvalidRequest, Param: param}
}

// NoSuchFile is the 404 for a file id.
func NoSuchFile(id string) *Error { return NotFound("id", "No such File object: %s", id) }

// NoSuchBatch is the 404 for a batch id.
func NoSuchBatch(id string) *Error { return NotFound("", "No batch found with id '%s'.", id) }

// NoSuchUpload is the 404 for an upload id.
func NoSuchUpload(id string) *Error { return NotFound("", "No upload found with id '%s'.", id) }

// ModelNotFound is the 404 for a model that no upstream serves.
func ModelNotFound(model string) *Error {
	e := NotFound("model", "The model '%s' does not exist or you do not have access to it.", model)
	e.Code = "model_not_found"
	return e
}

// UnknownRoute is the 404 for a method and path that the gateway does not serve.
func UnknownRoute(method, path string) *Error {
	e := NotFound("", "Invalid URL (%s %s)", method, path)
	e.Code = "unknown_url"
	return e
}

// MethodNotAllowed is the 405 for a known path.
func MethodNotAllowed(method, path string) *Error {
	return &Error{Status: http.StatusMethodNotAllowed, Message: fmt.Sprintf("Not allowed to %s on %s.", method, path), Type: TypeInvalidRequest, Code: "method_not_supported"}
}

// InvalidAPIKey is the 401.
func InvalidAPIKey() *Error {
	return &Error{Status: http.StatusUnauthorized, Message: "Incorrect API key provided.", Type: TypeInvalidRequest, Code: "invalid_api_key"}
}

// MissingScope is the 403 for a key that lacks a scope.
func MissingScope(scope string) *Error {
	return &Error{
		Status: http.StatusForbidden, Type: TypeInvalidRequest, Code: "missing_scope",
		Message: fmt.Sprintf("You have insufficient permissions for this operation. Missing scopes: %s. Ask the gateway's operator for a key with this scope.", scope),
	}
}

// ModelNotAllowed is the 403 for a model that the client's key may not use, whether it
// exists or not. OpenAI answers with the same code for a model of which a project is
// not a user.
func ModelNotAllowed(model string) *Error {
	return &Error{
		Status: http.StatusForbidden, Type: TypeInvalidRequest, Param: "model", Code: "model_not_found",
		Message: fmt.Sprintf("Your API key does not have access to the model '%s'.", model),
	}
}

// Conflict is a 409 for which a retry cannot help.
func Conflict(format string, args ...any) *Error {
	return &Error{Status: http.StatusConflict, Message: fmt.Sprintf(format, args...), Type: TypeInvalidRequest, NoRetry: true}
}

// TooLarge is a 413.
func TooLarge(param, format string, args ...any) *Error {
	return &Error{Status: http.StatusRequestEntityTooLarge, Message: fmt.Sprintf(format, args...), Type: TypeInvalidRequest, Param: param}
}

// InsufficientStorage is the 507 for a full disk. Clients should not retry at once,
// because an operator must free space.
func InsufficientStorage() *Error {
	return &Error{Status: http.StatusInsufficientStorage, Message: "The server has no space left to store this.", Type: TypeServer, Code: "insufficient_storage", NoRetry: true}
}

// Unavailable is a 503 with Retry-After.
func Unavailable(after time.Duration, format string, args ...any) *Error {
	return &Error{Status: http.StatusServiceUnavailable, Message: fmt.Sprintf(format, args...), Type: TypeServer, RetryAfter: max(after, time.Second)}
}

// BadGateway is the 502 for an upstream whose answer cannot be used.
func BadGateway(format string, args ...any) *Error {
	return &Error{Status: http.StatusBadGateway, Message: fmt.Sprintf(format, args...), Type: TypeServer, Code: "upstream_error"}
}

// Internal is a 500 that does not show its cause.
func Internal(cause error) *Error {
	return &Error{Status: http.StatusInternalServerError, Message: "The server had an error processing your request.", Type: TypeServer, cause: cause}
}

// Overloaded is the 429 for a request that no server has room for now.
func Overloaded(after time.Duration, format string, args ...any) *Error {
	return &Error{Status: http.StatusTooManyRequests, Message: fmt.Sprintf(format, args...), Type: TypeRateLimit, Code: "rate_limit_exceeded", RetryAfter: max(after, time.Second)}
}

// InsufficientQuota is the 429 for a client whose budget is used up. Retries would be in
// vain until then, as OpenAI says of its error with this code
// (https://platform.openai.com/docs/guides/error-codes).
func InsufficientQuota(after time.Duration, format string, args ...any) *Error {
	return &Error{Status: http.StatusTooManyRequests, Message: fmt.Sprintf(format, args...), Type: "insufficient_quota", Code: "insufficient_quota", RetryAfter: max(after, time.Second), NoRetry: true}
}

// ResourceUnavailable is the 429 for a request of the service tier flex that there
// is no room for now (https://platform.openai.com/docs/guides/flex-processing).
func ResourceUnavailable(after time.Duration, format string, args ...any) *Error {
	e := Overloaded(after, format, args...)
	e.Code = "resource_unavailable"
	return e
}
