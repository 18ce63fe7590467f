package engine_test

import (
	"testing"

	"github.com/tidegate/tidegate/batch"
	"github.com/tidegate/tidegate/batch/batchtest"
)

// The results of a batch are complete also when it has more slices than are
// listed at a time.
func TestResultsOfManySlices(t *testing.T) {
	t.Parallel()
	const lines = 600 * batch.SliceLines
	h := newHarness(t, batch.Config{})
	h.Pool.Limit = 0
	h.Open()
	id := h.Create(h.Upload(batchtest.Input(lines)))
	batchtest.Until(t, "the batch is planned", func() bool { return h.Get(id).Status == batch.InProgress })
	if _, err := h.Engine.CancelBatch(t.Context(), tenant, id); err != nil {
		t.Fatal(err)
	}
	b := h.Wait(id)
	if errs := h.Check(b, lines); b.Status != batch.Cancelled || len(errs) != lines {
		t.Errorf("it ended as %s with %d lines that never ran", b.Status, len(errs))
	}
}
