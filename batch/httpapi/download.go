package httpapi

import (
	"errors"
	"net/http"
	"net/url"
	"strings"

	"go.uber.org/zap"

	"github.com/tidegate/tidegate/internal/openai"
)

// downloadFile serves a content, whole or by ranges.
func (h *handler) downloadFile(w http.ResponseWriter, r *http.Request, id string) (err error) {
	f, content, err := h.files.Content(r.Context(), h.tenant(r), id)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, content.Close()) }()
	header := w.Header()
	header.Set("Content-Type", "application/octet-stream") // never a type that a browser would execute
	header.Set("X-Content-Type-Options", "nosniff")
	header.Set("Content-Disposition", attachment(f.PlainFilename()))
	header.Set("ETag", `"`+f.SHA256+`"`)
	http.ServeContent(&envelopes{ResponseWriter: w, request: r}, r, "", f.CreatedAt, content)
	if err := content.Err(); err != nil {
		if r.Context().Err() == nil {
			h.log.Error("download interrupted", zap.String("file", id), zap.Error(err))
		}
		// Fewer bytes were sent than announced. Only an aborted connection shows this.
		panic(http.ErrAbortHandler)
	}
	return nil
}

// attachment is the Content-Disposition of a download (RFC 6266): a plain name
// for everyone and, where that is not all of it, the whole name.
func attachment(name string) string {
	plain := strings.Map(func(r rune) rune {
		if r < ' ' || r > '~' || strings.ContainsRune(`"\%/`, r) {
			return '_'
		}
		return r
	}, name)
	value := `attachment; filename="` + plain + `"`
	if plain != name {
		// PathEscape does not escape a few characters that RFC 8187 excludes.
		whole := strings.NewReplacer("+", "%2B", "=", "%3D", ":", "%3A", "@", "%40", "$", "%24", "&", "%26").Replace(url.PathEscape(name))
		value += "; filename*=UTF-8''" + whole
	}
	return value
}

// envelopes replaces the plain text of http.ServeContent's errors (416) by the
// envelope that every error has.
type envelopes struct {
	http.ResponseWriter
	request  *http.Request
	replaced bool
}

func (e *envelopes) WriteHeader(status int) {
	switch status {
	case http.StatusRequestedRangeNotSatisfiable:
		e.replaced = true
		openai.WriteError(e.ResponseWriter, e.request, &openai.Error{
			Status: status, Message: "The requested range is not in the file.", Type: openai.TypeInvalidRequest, Param: "Range",
		})
	case http.StatusPreconditionFailed:
		e.replaced = true
		openai.WriteError(e.ResponseWriter, e.request, &openai.Error{
			Status: status, Message: "The file does not meet the conditions of the request.", Type: openai.TypeInvalidRequest,
		})
	default:
		e.ResponseWriter.WriteHeader(status)
	}
}

func (e *envelopes) Write(p []byte) (int, error) {
	if e.replaced {
		return len(p), nil
	}
	return e.ResponseWriter.Write(p)
}

// Unwrap returns the underlying writer, for http.ResponseController.
func (e *envelopes) Unwrap() http.ResponseWriter { return e.ResponseWriter }
