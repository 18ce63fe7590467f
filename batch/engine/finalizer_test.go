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

// Results count as arriving while they are written, and not after their batch has ended.
func TestResultsAreHeldWhileTheyAreWritten(t *testing.T) {
	t.Parallel()
	h := newHarness(t, batch.Config{})
	var held batch.Stored
	note := func(batch.BatchClaim) error {
		held = h.Engine.Arriving().Total()
		return nil
	}
	h.Open()
	h.Store.BeforeFinish.Store(&note)
	id := h.Create(h.Upload(batchtest.Input(10)))
	b := h.Wait(id)
	uses, err := h.Engine.Store().Storage(t.Context(), batch.AllTenants)
	if err != nil {
		t.Fatal(err)
	}
	var results batch.Stored
	for _, use := range uses {
		if use.Purpose != "batch" {
			results = results.Add(batch.Stored{Files: use.Files, Bytes: use.Bytes})
		}
	}
	if b.Status != batch.Completed || held != results || held.Files != 2 || held.Bytes == 0 {
		t.Errorf("batch is %s; got %+v held while its results were recorded, want %+v, the output and its index", b.Status, held, results)
	}
	if left := h.Engine.Arriving().Total(); left != (batch.Stored{}) {
		t.Errorf("got %+v held after the end, want nothing", left)
	}
}
