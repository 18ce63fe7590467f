package httpapi

import (
	"context"
	"errors"
	"net/http"

	"github.com/tidegate/tidegate/access"
	"github.com/tidegate/tidegate/batch"
	"github.com/tidegate/tidegate/batch/engine"
	"github.com/tidegate/tidegate/internal/openai"
)

// Control has the methods that the API needs to control batches.
type Control interface {
	PauseBatch(ctx context.Context, tenant, id string) (batch.Batch, error)
	ResumeBatch(ctx context.Context, tenant, id string) (batch.Batch, error)
	PrioritizeBatch(ctx context.Context, tenant, id string, priority int) (batch.Batch, error)
	// RetryFailed returns a *batch.StateError if the batch cannot be retried.
	RetryFailed(ctx context.Context, tenant, id string, r engine.RetryRequest) (batch.Batch, error)
}

// own returns an endpoint that clients with the scope batch may use for batches that
// their own key made, and clients with the scope operate for all batches of the tenant.
func (h *handler) own(do endpoint) endpoint {
	return func(w http.ResponseWriter, r *http.Request, id string) error {
		client := access.From(r.Context())
		if !client.May(access.Operate) {
			b, err := h.batches.Batch(r.Context(), h.tenant(r), id)
			if err != nil {
				return err
			}
			if !client.May(access.Batch) || !client.Owns(b.KeyID) {
				return openai.MissingScope(string(access.Operate))
			}
		}
		return do(w, r, id)
	}
}

func (h *handler) pauseBatch(w http.ResponseWriter, r *http.Request, id string) error {
	b, err := h.batches.PauseBatch(r.Context(), h.tenant(r), id)
	return h.answerControl(w, r, b, err, "pause")
}

func (h *handler) resumeBatch(w http.ResponseWriter, r *http.Request, id string) error {
	b, err := h.batches.ResumeBatch(r.Context(), h.tenant(r), id)
	return h.answerControl(w, r, b, err, "resume")
}

func (h *handler) prioritizeBatch(w http.ResponseWriter, r *http.Request, id string) error {
	body, err := readJSON(r)
	if err != nil {
		return err
	}
	priority, err := parsePriority(body)
	if err != nil {
		return err
	}
	b, err := h.batches.PrioritizeBatch(r.Context(), h.tenant(r), id, priority)
	return h.answerControl(w, r, b, err, "change the priority of")
}

func (h *handler) answerControl(w http.ResponseWriter, r *http.Request, b batch.Batch, err error, verb string) error {
	if errors.Is(err, batch.ErrConflict) {
		return openai.Conflict("Cannot %s a batch with status '%s'.", verb, b.Status)
	}
	if err != nil {
		return err
	}
	return answer(w, h.wire(r.Context(), b))
}

func (h *handler) retryFailed(w http.ResponseWriter, r *http.Request, id string) error {
	key, err := idempotencyKey(r)
	if err != nil {
		return err
	}
	b, err := h.batches.RetryFailed(r.Context(), h.tenant(r), id, engine.RetryRequest{Files: h.files, IdempotencyKey: key, Quota: h.files.Quota(h.tenant(r))})
	if err != nil {
		return err
	}
	return answer(w, wireBatch(asCreated(b)))
}
