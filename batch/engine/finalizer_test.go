package engine_test

import (
	"testing"

	"github.com/tidegate/tidegate/batch"
)

// The results of a batch are complete also when it has more slices than are
// listed at a time.
func TestResultsOfManySlices(t *testing.T) {
	const lines = 600 * batch.SliceLines
	h := newHouse(t, batch.Config{})
	h.pool.slots = 0
	h.open()
	id := h.create(h.upload(input(lines)))
	until(t, "the batch is planned", func() bool { return h.get(id).Status == batch.InProgress })
	if _, err := h.engine.CancelBatch(t.Context(), tenant, id); err != nil {
		t.Fatal(err)
	}
	b := h.wait(id)
	if errs := h.check(b, lines); b.Status != batch.Cancelled || len(errs) != lines {
		t.Errorf("it ended as %s with %d lines that never ran", b.Status, len(errs))
	}
}
