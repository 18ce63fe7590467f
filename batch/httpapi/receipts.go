package httpapi

import (
	"context"
	"net/http"

	"github.com/tidegate/tidegate/batch"
)

// Receipts makes receipts of batches.
type Receipts interface {
	// Receipt returns the signed receipt of a batch as JSON. It returns a
	// *batch.StateError for a batch that has not ended.
	Receipt(ctx context.Context, tenant, id string) ([]byte, error)
	// ReceiptKeys returns the public keys that verify receipts, as JSON.
	ReceiptKeys(ctx context.Context) ([]byte, error)
}

func (h *handler) getReceipt(w http.ResponseWriter, r *http.Request, id string) error {
	if h.receipts == nil {
		return batch.ErrUnavailable
	}
	text, err := h.receipts.Receipt(r.Context(), h.tenant(r), id)
	if err != nil {
		return err
	}
	writeText(w, text)
	return nil
}

func (h *handler) listReceiptKeys(w http.ResponseWriter, r *http.Request, _ string) error {
	if h.receipts == nil {
		return batch.ErrUnavailable
	}
	text, err := h.receipts.ReceiptKeys(r.Context())
	if err != nil {
		return err
	}
	writeText(w, text)
	return nil
}
