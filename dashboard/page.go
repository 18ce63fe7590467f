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

// page answers with what f makes, or with what went wrong.
func (d *Dashboard) page(f func(http.ResponseWriter, *http.Request) error) http.Handler {
	whole := d.reading(f)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		ctx, cancel := context.WithTimeout(r.Context(), d.timeout)
		defer cancel()
		whole.ServeHTTP(w, r.WithContext(ctx))
	})
}

// reading is page for what reads whole files: it takes as long as they are, or
// until the reader goes.
func (d *Dashboard) reading(f func(http.ResponseWriter, *http.Request) error) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if err := f(w, r); err != nil {
			d.fail(w, r, err)
		}
	})
}

// render answers with a page. It is made as a whole before anything is sent.
func (d *Dashboard) render(w http.ResponseWriter, r *http.Request, status int, c templ.Component) error {
	var b bytes.Buffer
	if err := c.Render(r.Context(), &b); err != nil {
		return fmt.Errorf("rendering page: %w", err)
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.Header().Set("Content-Length", strconv.Itoa(b.Len()))
	w.WriteHeader(status)
	_, _ = w.Write(b.Bytes()) // the reader is gone: nobody is left to tell
	return nil
}

// refusal is an error that is the reader's to mend.
type refusal struct {
	status int
	text   string
}

func (e *refusal) Error() string { return e.text }

func refuse(status int, format string, args ...any) error {
	return &refusal{status, fmt.Sprintf(format, args...)}
}

// answerTo gives the status and the text for an error. What the text says
// comes from a sentinel or from the API; other errors are not shown.
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
		return http.StatusNotFound, "There is no such thing, or it is there no more."
	case errors.Is(err, batch.ErrConflict):
		return http.StatusConflict, "Its state does not allow that any more. Look at it again."
	case errors.Is(err, batch.ErrNoSpace):
		return http.StatusInsufficientStorage, "There is no space left where files lie. Delete files, or give the disk more."
	case errors.Is(err, batch.ErrUnavailable):
		return http.StatusServiceUnavailable, "The store does not answer. Live requests go on; batches wait until it is back. See Doctor."
	case errors.Is(err, context.DeadlineExceeded):
		return http.StatusServiceUnavailable, "It took too long. Try again; see Doctor if it goes on."
	default:
		return http.StatusInternalServerError, "The gateway could not do that. Its log says why."
	}
}

// told gives the text for an error, and whether it says that what was looked
// at is there no more.
func told(err error) (text string, gone bool) {
	status, text := answerTo(err)
	return text, status == http.StatusNotFound
}

// fail answers for an error.
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

// logTrouble logs what is the server's fault.
func (d *Dashboard) logTrouble(r *http.Request, err error) {
	if status, _ := answerTo(err); status >= http.StatusInternalServerError && !errors.Is(err, context.Canceled) {
		d.log.Warn("page failed", zap.String("path", r.URL.Path), zap.Error(err))
	}
}

func (d *Dashboard) nowhere(_ http.ResponseWriter, r *http.Request) error {
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		return refuse(http.StatusMethodNotAllowed, "There is nothing here that takes %s.", r.Method)
	}
	return refuse(http.StatusNotFound, "There is no such page.")
}

// crossOrigin answers for actions that come from another site.
func (d *Dashboard) crossOrigin(w http.ResponseWriter, r *http.Request) {
	d.fail(w, r, refuse(http.StatusForbidden, "This was sent from a page of another site, and nothing was done."))
}

// maxForm is how large a form may be that is not an upload, in bytes.
const maxForm = 64 << 10

// form reads a form, and answers when it is none.
func (d *Dashboard) form(w http.ResponseWriter, r *http.Request) bool {
	r.Body = http.MaxBytesReader(w, r.Body, maxForm)
	if err := r.ParseForm(); err != nil {
		status := http.StatusBadRequest
		if _, ok := errors.AsType[*http.MaxBytesError](err); ok {
			status = http.StatusRequestEntityTooLarge
		}
		d.fail(w, r, refuse(status, "The form could not be read."))
		return false
	}
	return true
}

// asset answers with an embedded file. Its URL changes with its content.
func (d *Dashboard) asset(w http.ResponseWriter, r *http.Request) {
	a, ok := templates.Assets[r.PathValue("name")]
	if !ok || r.PathValue("hash") != a.Hash {
		http.NotFound(w, r)
		return
	}
	w.Header().Set("Content-Type", a.Type)
	w.Header().Set("Cache-Control", "public, max-age=31536000, immutable")
	w.Header().Set("Content-Length", strconv.Itoa(len(a.Content)))
	_, _ = w.Write(a.Content) // the reader is gone: nobody is left to tell
}

// download hands a content to the reader, never to be shown by the browser.
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
	if disposition == "" { // a name that cannot be written
		disposition = "attachment"
	}
	h.Set("Content-Disposition", disposition)
	if content.Bytes >= 0 {
		h.Set("Content-Length", strconv.FormatInt(content.Bytes, 10))
	}
	if r.Method == http.MethodHead {
		return // nothing is to be read
	}
	if _, err := io.Copy(w, content); err != nil {
		if r.Context().Err() == nil {
			d.log.Warn("download was broken off", zap.String("path", r.URL.Path), zap.Error(err))
		}
		panic(http.ErrAbortHandler) // a reader must not take a part for the whole
	}
}
