package dashboard

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"strconv"

	"github.com/a-h/templ"
	"go.uber.org/zap"

	"github.com/tidegate/tidegate/batch"
	"github.com/tidegate/tidegate/internal/openai"
	"github.com/tidegate/tidegate/templates"
)

// page answers with the component that f returns, or with an error page.
func (d *Dashboard) page(f func(http.ResponseWriter, *http.Request) error) http.Handler {
	whole := d.reading(f)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		ctx, cancel := context.WithTimeout(r.Context(), d.timeout)
		defer cancel()
		whole.ServeHTTP(w, r.WithContext(ctx))
	})
}

// reading is page for handlers that read complete files: the time is not limited,
// except by the reader's disconnect.
func (d *Dashboard) reading(f func(http.ResponseWriter, *http.Request) error) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if err := f(w, r); err != nil {
			d.fail(w, r, err)
		}
	})
}

// render answers with a page. It is rendered completely before anything is sent.
func (d *Dashboard) render(w http.ResponseWriter, r *http.Request, status int, c templ.Component) error {
	var b bytes.Buffer
	if err := c.Render(r.Context(), &b); err != nil {
		return fmt.Errorf("rendering page: %w", err)
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.Header().Set("Content-Length", strconv.Itoa(b.Len()))
	w.WriteHeader(status)
	_, _ = w.Write(b.Bytes()) // an error means that the client has disconnected
	return nil
}

// refusal is an error that the reader can correct.
type refusal struct {
	status int
	text   string
}

func (e *refusal) Error() string { return e.text }

func refuse(status int, format string, args ...any) error {
	return &refusal{status, fmt.Sprintf(format, args...)}
}

// answerTo returns the status and the text for an error. The text is based on a
// sentinel or on the API's error; the details of other errors are not shown.
func answerTo(err error) (status int, text string) {
	if e, ok := errors.AsType[*refusal](err); ok {
		return e.status, e.text
	}
	if e, ok := errors.AsType[*openai.Error](err); ok {
		return e.Status, e.Message
	}
	if e, ok := errors.AsType[*http.MaxBytesError](err); ok {
		return http.StatusRequestEntityTooLarge, fmt.Sprintf("That is larger than %s.", templates.Bytes(e.Limit))
	}
	switch {
	case errors.Is(err, batch.ErrNotFound), errors.Is(err, batch.ErrBadCursor):
		return http.StatusNotFound, "Not found. It may have been deleted."
	case errors.Is(err, batch.ErrConflict):
		return http.StatusConflict, "Its state no longer allows this. Reload the page."
	case errors.Is(err, batch.ErrNoSpace):
		return http.StatusInsufficientStorage, "No disk space is left for files. Delete files, or add disk space."
	case errors.Is(err, batch.ErrUnavailable):
		return http.StatusServiceUnavailable, "The store does not answer. Live requests continue; batches wait until it is back. See Doctor."
	case errors.Is(err, context.DeadlineExceeded):
		return http.StatusServiceUnavailable, "Timed out. Try again; see Doctor if this persists."
	default:
		return http.StatusInternalServerError, "Internal error. See the gateway's log."
	}
}

// told returns the text for an error, and whether the error means that the object no
// longer exists.
func told(err error) (text string, gone bool) {
	status, text := answerTo(err)
	return text, status == http.StatusNotFound
}

// fail answers with an error page.
func (d *Dashboard) fail(w http.ResponseWriter, r *http.Request, err error) {
	d.logTrouble(r, err)
	status, text := answerTo(err)
	if status == http.StatusServiceUnavailable {
		w.Header().Set("Retry-After", "5")
	}
	site := d.site(r, "", http.StatusText(status))
	if err := d.render(w, r, status, templates.FailurePage(site, text)); err != nil {
		d.log.Error("rendering failure", zap.Error(err))
		http.Error(w, text, status)
	}
}

// logTrouble logs server errors.
func (d *Dashboard) logTrouble(r *http.Request, err error) {
	if status, _ := answerTo(err); status >= http.StatusInternalServerError && !errors.Is(err, context.Canceled) {
		d.log.Warn("rendering page failed", zap.String("path", r.URL.Path), zap.Error(err))
	}
}

func (d *Dashboard) nowhere(_ http.ResponseWriter, r *http.Request) error {
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		return refuse(http.StatusMethodNotAllowed, "%s is not allowed here.", r.Method)
	}
	return refuse(http.StatusNotFound, "Page not found.")
}

// crossOrigin refuses actions from another site.
func (d *Dashboard) crossOrigin(w http.ResponseWriter, r *http.Request) {
	d.fail(w, r, refuse(http.StatusForbidden, "This was sent from a page of another site, and nothing was done."))
}

// maxForm limits the size of a form without uploads, in bytes.
const maxForm = 64 << 10

// form parses a form, and answers with an error if it is invalid.
func (d *Dashboard) form(w http.ResponseWriter, r *http.Request) bool {
	r.Body = http.MaxBytesReader(w, r.Body, maxForm)
	if err := r.ParseForm(); err != nil {
		if slow, ok := errors.AsType[*openai.Error](err); ok {
			d.fail(w, r, slow)
			return false
		}
		status := http.StatusBadRequest
		if _, ok := errors.AsType[*http.MaxBytesError](err); ok {
			status = http.StatusRequestEntityTooLarge
		}
		d.fail(w, r, refuse(status, "The form could not be read."))
		return false
	}
	return true
}

// asset serves an embedded file. Its URL changes with its content.
func (d *Dashboard) asset(w http.ResponseWriter, r *http.Request) {
	a, ok := templates.Assets[r.PathValue("name")]
	if !ok || r.PathValue("hash") != a.Hash {
		http.NotFound(w, r)
		return
	}
	w.Header().Set("Content-Type", a.Type)
	w.Header().Set("Cache-Control", "public, max-age=31536000, immutable")
	w.Header().Set("Content-Length", strconv.Itoa(len(a.Content)))
	_, _ = w.Write(a.Content) // an error means that the client has disconnected
}

// download sends a content as an attachment, which browsers do not display.
func (d *Dashboard) download(w http.ResponseWriter, r *http.Request, open func(context.Context) (Download, error)) {
	content, err := open(r.Context())
	if err != nil {
		d.fail(w, r, err)
		return
	}
	defer content.Close()
	h := w.Header()
	h.Set("Content-Type", "application/octet-stream")
	disposition := mime.FormatMediaType("attachment", map[string]string{"filename": content.Filename})
	if disposition == "" { // the name cannot be encoded
		disposition = "attachment"
	}
	h.Set("Content-Disposition", disposition)
	if content.Bytes >= 0 {
		h.Set("Content-Length", strconv.FormatInt(content.Bytes, 10))
	}
	if r.Method == http.MethodHead {
		return // HEAD has no body
	}
	if _, err := io.Copy(w, content); err != nil {
		if r.Context().Err() == nil {
			d.log.Warn("download interrupted", zap.String("path", r.URL.Path), zap.Error(err))
		}
		panic(http.ErrAbortHandler) // the connection is aborted, so that a partial content is not taken for complete
	}
}
