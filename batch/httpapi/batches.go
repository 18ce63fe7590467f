package httpapi

import (
	"errors"
	"net/http"

	"github.com/tidegate/tidegate/batch"
	"github.com/tidegate/tidegate/internal/openai"
)

// The sizes of a page of batches.
const (
	batchPage    = 20
	maxBatchPage = 100
)

func (h *handler) createBatch(w http.ResponseWriter, r *http.Request, _ string) error {
	key, err := idempotencyKey(r)
	if err != nil {
		return err
	}
	body, err := readJSON(r)
	if err != nil {
		return err
	}
	request, err := ParseCreate(body)
	if err != nil {
		return err
	}
	request.IdempotencyKey = key
	tenant := h.tenant(r)
	request.Quota = h.files.Quota(tenant)
	b, err := h.batches.CreateBatch(r.Context(), tenant, request)
	if err != nil {
		return err
	}
	made := asCreated(b)
	made.Priority = request.Priority // it may have another by now
	return answer(w, wireBatch(made))
}

// maxKey is the maximum length of an idempotency key.
const maxKey = 255

// idempotencyKey reads the header, "" when it is absent or empty.
func idempotencyKey(r *http.Request) (string, error) {
	keys := r.Header.Values("Idempotency-Key")
	if len(keys) == 0 {
		return "", nil
	}
	ok := len(keys) == 1 && len(keys[0]) <= maxKey
	for _, c := range []byte(keys[0]) {
		ok = ok && c >= ' ' && c <= '~'
	}
	if !ok {
		return "", openai.InvalidRequest("Idempotency-Key", "invalid_value", "Invalid header 'Idempotency-Key': expected one of at most %d printable ASCII characters.", maxKey)
	}
	return keys[0], nil
}

func (h *handler) listBatches(w http.ResponseWriter, r *http.Request, _ string) error {
	query, err := parseQuery(r)
	if err != nil {
		return err
	}
	var q batch.BatchQuery
	if q.Limit, err = query.limit(batchPage, maxBatchPage); err != nil {
		return err
	}
	if q.After, err = query.after(batchObject.id); err != nil {
		return err
	}
	page, more, err := h.batches.Batches(r.Context(), h.tenant(r), q)
	if err != nil {
		return err
	}
	wire := func(b batch.Batch) openai.Batch { return h.wire(r.Context(), b) }
	return answer(w, list(page, more, wire, func(b batch.Batch) string { return b.ID }))
}

func (h *handler) getBatch(w http.ResponseWriter, r *http.Request, id string) error {
	query, err := parseQuery(r)
	if err != nil {
		return err
	}
	estimate, err := query.oneOf("estimate", "1", "true", "0", "false")
	if err != nil {
		return err
	}
	if estimate == "1" || estimate == "true" {
		return h.getEstimate(w, r, id)
	}
	b, err := h.batches.Batch(r.Context(), h.tenant(r), id)
	if err != nil {
		return err
	}
	return answer(w, h.wire(r.Context(), b))
}

func (h *handler) cancelBatch(w http.ResponseWriter, r *http.Request, id string) error {
	b, err := h.batches.CancelBatch(r.Context(), h.tenant(r), id)
	if errors.Is(err, batch.ErrConflict) {
		return openai.Conflict("Cannot cancel a batch with status '%s'.", b.Status)
	}
	if err != nil {
		return err
	}
	return answer(w, h.wire(r.Context(), b))
}

func (h *handler) deleteBatch(w http.ResponseWriter, r *http.Request, id string) error {
	query, err := parseQuery(r)
	if err != nil {
		return err
	}
	input, err := query.oneOf("input", "true", "false")
	if err != nil {
		return err
	}
	cancel, err := query.oneOf("cancel", "true", "false")
	if err != nil {
		return err
	}
	b, err := h.batches.DeleteBatch(r.Context(), h.tenant(r), id, batch.Deletion{Input: input == "true", EndedOnly: cancel == "false"})
	if errors.Is(err, batch.ErrConflict) {
		return openai.Conflict("Cannot delete a batch with status '%s'. Cancel it first.", b.Status)
	}
	if err != nil {
		return err
	}
	return answer(w, openai.Deleted{ID: b.ID, Object: "batch", Deleted: true, Message: "Batch " + b.ID + " deleted successfully"})
}
