package httpapi

import (
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"strings"

	"github.com/tidegate/tidegate/internal/openai"
)

// maxJSON is the maximum size of a JSON body, in bytes.
const maxJSON = 1 << 20

// readJSON reads a JSON body. A request without a Content-Type may have one. One
// with another Content-Type is refused: a web page could send it across sites
// without a preflight request.
func readJSON(r *http.Request) ([]byte, error) {
	if r.Header.Get("Content-Type") != "" {
		media, _, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
		if err != nil || media != "application/json" && !strings.HasSuffix(media, "+json") {
			return nil, errContentType(r, "application/json")
		}
	}
	body, err := io.ReadAll(io.LimitReader(r.Body, maxJSON+1))
	if err != nil {
		return nil, errBody(err)
	}
	if len(body) > maxJSON {
		return nil, openai.TooLarge("", "The body of the request is larger than the limit of %d bytes.", maxJSON)
	}
	return openai.TrimBOM(body), nil
}

func errContentType(r *http.Request, want string) *openai.Error {
	return openai.InvalidRequest("", "unsupported_content_type",
		"Unsupported content type: '%s'. This API method only accepts '%s' requests.", clip(r.Header.Get("Content-Type")), want)
}

// bodyError reports that the client or the network failed to deliver a body.
type bodyError struct{ err error }

func (e *bodyError) Error() string { return fmt.Sprintf("reading body: %v", e.err) }
func (e *bodyError) Unwrap() error { return e.err }

func errBody(err error) *openai.Error {
	if refusal, ok := errors.AsType[*openai.Error](err); ok { // of the reader of the body
		return refusal
	}
	if tooLarge, ok := errors.AsType[*http.MaxBytesError](err); ok { // of a handler in front
		return openai.TooLarge("", "The body of the request is larger than the limit of %d bytes.", tooLarge.Limit).WithCause(err)
	}
	return openai.InvalidRequest("", "", "The body of the request could not be read to its end.").WithCause(err)
}
