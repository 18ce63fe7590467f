package httpapi

import (
	"net/http"
	"time"

	"github.com/tidegate/tidegate/batch/engine"
	"github.com/tidegate/tidegate/internal/openai"
)

// estimatedBatch is the Batch object with an estimate of its remaining time.
type estimatedBatch struct {
	openai.Batch
	Estimate wireEstimate `json:"estimate"`
}

// wireEstimate is the estimate in a response. Unknown values are null.
type wireEstimate struct {
	LinesPerMinute   *float64 `json:"lines_per_minute"`
	RemainingSeconds *int64   `json:"remaining_seconds"`
	FinishesAt       *int64   `json:"finishes_at"`
	MissesDeadline   *bool    `json:"misses_deadline"`
}

func estimateObject(e engine.Estimate) wireEstimate {
	o := wireEstimate{LinesPerMinute: e.LinesPerMinute, MissesDeadline: e.MissesDeadline}
	if e.Remaining != nil {
		o.RemainingSeconds = new(int64(*e.Remaining / time.Second))
	}
	if e.FinishesAt != nil {
		o.FinishesAt = unix(*e.FinishesAt)
	}
	return o
}

func (h *handler) getEstimate(w http.ResponseWriter, r *http.Request, id string) error {
	b, err := h.batches.Batch(r.Context(), h.tenant(r), id)
	if err != nil {
		return err
	}
	estimates, err := h.batches.Estimates(r.Context(), b)
	if err != nil {
		return err
	}
	return answer(w, estimatedBatch{h.wire(r.Context(), b), estimateObject(estimates[id])})
}
