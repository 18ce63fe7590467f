package engine_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/tidegate/tidegate/batch"
	"github.com/tidegate/tidegate/batch/batchtest"
)

func TestSmallBatchDoesNotWait(t *testing.T) {
	t.Parallel()
	h := newHarness(t, batch.Config{MaxInFlight: 8, MaxConcurrentBatches: 2})
	h.Open()
	large := h.Upload(batchtest.Input(20_000))
	ids := []string{h.Create(large), h.Create(large), h.Create(large)}
	small := h.Create(h.Upload(batchtest.Input(10)))
	if b := h.Wait(small); b.Status != batch.Completed {
		t.Error(b.Status)
	}
	for _, id := range ids {
		if b := h.Get(id); b.Status.Terminal() {
			t.Errorf("a batch of 20,000 ended before one of 10: %+v", b.Counts)
		}
		if _, err := h.Engine.CancelBatch(t.Context(), tenant, id); err != nil {
			t.Error(err)
		}
		h.Wait(id)
	}
}

// Batches whose lines all run do not delay other batches: small batches fill all slots,
// however few may be served at a time.
func TestSmallBatchesFillAllSlots(t *testing.T) {
	t.Parallel()
	const slots, lines, batches = 40, 2, 60
	h := newHarness(t, batch.Config{MaxConcurrentBatches: 3, MaxInFlight: slots})
	hold := make(chan struct{})
	h.Pool.Answer = batchtest.Behind(hold)
	h.Open()
	file := h.Upload(batchtest.Input(lines))
	ids := make([]string, batches)
	for i := range ids {
		ids[i] = h.Create(file)
	}
	batchtest.Until(t, "all slots to be taken", func() bool { return h.Engine.Health(t.Context()).InFlight == slots })
	close(hold)
	for _, id := range ids {
		h.Check(h.Wait(id), lines)
	}
}

// A batch whose turn is over continues when no batch waits any more, also while one of
// its lines runs for long.
func TestTurnGoesOn(t *testing.T) {
	t.Parallel()
	const lines = 10 * batch.SliceLines
	h := newHarness(t, batch.Config{MaxConcurrentBatches: 1, MaxInFlight: batch.SliceLines})
	begin, long := make(chan struct{}), make(chan struct{})
	h.Pool.Answer = func(ctx context.Context, id string, call int) (batch.Answer, error) {
		if id == batchtest.CustomID(0) {
			return batchtest.Behind(long)(ctx, id, call)
		}
		return batchtest.Behind(begin)(ctx, id, call)
	}
	h.Open()
	large := h.Create(h.Upload(batchtest.Input(lines)))
	batchtest.Until(t, "its first lines to run", func() bool { return h.Engine.Health(t.Context()).InFlight == batch.SliceLines })
	small := h.Create(h.Upload(batchtest.InputFrom(lines, 5)))
	batchtest.Until(t, "the other to wait", func() bool { return h.Get(small).Status == batch.InProgress })
	close(begin)
	h.Wait(small)
	batchtest.Until(t, "all but its long line to be done", func() bool { return h.Get(large).Counts.Completed == lines-1 })
	close(long)
	h.Check(h.Wait(large), lines)
}

// Where the upstreams of a model are full, those of another have work as soon as
// a batch for them is there, and it keeps its place while only batches of the
// first wait.
func TestOtherModelsFillTheirSlots(t *testing.T) {
	t.Parallel()
	const lines, size, batches = 10 * batch.SliceLines, 150, 20
	h := newHarness(t, batch.Config{MaxConcurrentBatches: 2})
	h.Pool.Models["n"] = true
	h.Pool.Room = map[string]int{"m": 20}
	long := make(chan struct{})
	h.Pool.Answer = func(ctx context.Context, id string, call int) (batch.Answer, error) {
		switch {
		case id < batchtest.CustomID(lines): // of the first model: 400 a second
			time.Sleep(50 * time.Millisecond)
		case id == batchtest.CustomID(lines):
			return batchtest.Behind(long)(ctx, id, call)
		}
		return batchtest.OK(id), nil
	}
	h.Open()
	file := h.Upload(batchtest.Input(size))
	many := make([]string, batches)
	for i := range many {
		many[i] = h.Create(file)
	}
	batchtest.Until(t, "many to wait", func() bool { return h.Get(many[batches-1]).Status == batch.InProgress })
	other := h.Create(h.Upload(strings.ReplaceAll(batchtest.InputFrom(lines, lines), `"m"`, `"n"`)))
	batchtest.Until(t, "all but its long line to be done", func() bool { return h.Get(other).Counts.Completed == lines-1 })
	if b := h.Get(many[batches*3/4]); b.Status != batch.InProgress {
		t.Errorf("by then three of four that waited longer were over: %s", b.Status)
	}
	close(long)
	h.Wait(other)
	for _, id := range many {
		h.Check(h.Wait(id), size)
	}
}
