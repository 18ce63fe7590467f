package httpapi

import (
	"context"
	"errors"
	"net/http"
	"time"

	"go.uber.org/zap"

	"github.com/tidegate/tidegate/batch"
	"github.com/tidegate/tidegate/batch/upload"
	"github.com/tidegate/tidegate/internal/openai"
)

// retryAfter is sent to clients while the store is unavailable.
const retryAfter = 5 * time.Second

// asError returns the answer for an error. missing returns the 404 for the object
// that the request names.
func asError(err error, missing func() *openai.Error) *openai.Error {
	if e, ok := errors.AsType[*openai.Error](err); ok {
		return e
	}
	if e := refusal(err); e != nil {
		return e.WithCause(err)
	}
	switch {
	case errors.Is(err, batch.ErrNotFound):
		return missing()
	case errors.Is(err, batch.ErrBadCursor):
		return errBadCursor()
	case errors.Is(err, batch.ErrKeyReused):
		return openai.Conflict("This Idempotency-Key was used before, with another request.")
	case errors.Is(err, batch.ErrConflict):
		return openai.Conflict("The state of the object does not allow this.")
	case errors.Is(err, batch.ErrNoSpace):
		return openai.InsufficientStorage()
	case errors.Is(err, batch.ErrUnavailable), errors.Is(err, context.DeadlineExceeded), errors.Is(err, context.Canceled):
		return openai.Unavailable(retryAfter, "The service is temporarily unavailable. Please try again.")
	default:
		return openai.Internal(err)
	}
}

func errBadCursor() *openai.Error {
	return openai.InvalidRequest("after", "invalid_value", "Invalid 'after': there is no such object to continue after.")
}

// refuse answers with an error, and logs it unless the client caused it.
func (h *handler) refuse(w http.ResponseWriter, r *http.Request, err error, missing func() *openai.Error) {
	if r.Context().Err() == nil || !errors.Is(err, context.Canceled) { // otherwise the client has disconnected
		h.logError(r, err, missing)
	}
	openai.WriteError(w, r, asError(err, missing))
}

func (h *handler) logError(r *http.Request, err error, missing func() *openai.Error) {
	e := asError(err, missing)
	if e.Status < http.StatusInternalServerError && !errors.Is(err, upload.ErrLeftBehind) {
		return
	}
	if c := h.log.Check(zap.WarnLevel, "request failed"); c != nil {
		c.Write(zap.String("method", r.Method), zap.String("path", r.URL.Path), zap.Int("status", e.Status), zap.Error(err))
	}
}
