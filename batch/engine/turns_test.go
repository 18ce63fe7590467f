package engine_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/tidegate/tidegate/batch"
)

// Batches of which all lines run are in nobody's way: small ones fill all slots,
// however few may be served at a time.
func TestSmallBatchesFillAllSlots(t *testing.T) {
	const slots, lines, batches = 40, 2, 60
	h := newHouse(t, batch.Config{MaxConcurrentBatches: 3, MaxInFlight: slots})
	hold := make(chan struct{})
	h.pool.answer = gate{hold}.answer
	h.open()
	file := h.upload(input(lines))
	ids := make([]string, batches)
	for i := range ids {
		ids[i] = h.create(file)
	}
	until(t, "all slots to be taken", func() bool { return h.engine.Health(t.Context()).InFlight == slots })
	close(hold)
	for _, id := range ids {
		h.check(h.wait(id), lines)
	}
}

// A batch whose turn is over goes on when nobody waits any more, also while one
// of its lines runs for long.
func TestTurnGoesOn(t *testing.T) {
	const lines = 10 * batch.SliceLines
	h := newHouse(t, batch.Config{MaxConcurrentBatches: 1, MaxInFlight: batch.SliceLines})
	begin, long := gate{make(chan struct{})}, gate{make(chan struct{})}
	h.pool.answer = func(ctx context.Context, id string, call int) (batch.Answer, error) {
		if id == customID(0) {
			return long.answer(ctx, id, call)
		}
		return begin.answer(ctx, id, call)
	}
	h.open()
	large := h.create(h.upload(input(lines)))
	until(t, "its first lines to run", func() bool { return h.engine.Health(t.Context()).InFlight == batch.SliceLines })
	small := h.create(h.upload(inputFrom(lines, 5)))
	until(t, "the other to wait", func() bool { return h.get(small).Status == batch.InProgress })
	close(begin.open)
	h.wait(small)
	until(t, "all but its long line to be done", func() bool { return h.get(large).Counts.Completed == lines-1 })
	close(long.open)
	h.check(h.wait(large), lines)
}

// Where the upstreams of a model are full, those of another have work as soon as
// a batch for them is there, and it keeps its place while only batches of the
// first wait.
func TestOtherModelsFillTheirSlots(t *testing.T) {
	const lines, size, batches = 10 * batch.SliceLines, 150, 20
	h := newHouse(t, batch.Config{MaxConcurrentBatches: 2})
	h.pool.models["n"] = true
	h.pool.room = map[string]int{"m": 20}
	long := gate{make(chan struct{})}
	h.pool.answer = func(ctx context.Context, id string, call int) (batch.Answer, error) {
		switch {
		case id < customID(lines): // of the first model: 400 a second
			time.Sleep(50 * time.Millisecond)
		case id == customID(lines):
			return long.answer(ctx, id, call)
		}
		return ok(id), nil
	}
	h.open()
	file := h.upload(input(size))
	many := make([]string, batches)
	for i := range many {
		many[i] = h.create(file)
	}
	until(t, "many to wait", func() bool { return h.get(many[batches-1]).Status == batch.InProgress })
	other := h.create(h.upload(strings.ReplaceAll(inputFrom(lines, lines), `"m"`, `"n"`)))
	until(t, "all but its long line to be done", func() bool { return h.get(other).Counts.Completed == lines-1 })
	if b := h.get(many[batches*3/4]); b.Status != batch.InProgress {
		t.Errorf("by then three of four that waited longer were over: %s", b.Status)
	}
	close(long.open)
	h.wait(other)
	for _, id := range many {
		h.check(h.wait(id), size)
	}
}
