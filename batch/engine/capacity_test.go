package engine_test

import (
	"context"
	"net/http"
	"strconv"
	"testing"
	"time"

	"github.com/tidegate/tidegate/batch"
	"github.com/tidegate/tidegate/batch/batchtest"
)

// A gateway without MaxInFlight fills all slots, also those that are added later. A gateway
// with it keeps to the limit.
func TestFillsWhatSlotsThereAre(t *testing.T) {
	t.Parallel()
	const few, many, told = 300, 1000, 100
	for _, c := range []struct{ told, first, then int }{{0, few, many}, {told, told, told}} {
		h := newHarness(t, batch.Config{MaxInFlight: c.told})
		h.Pool.Limit = few
		hold := make(chan struct{})
		h.Pool.Answer = batchtest.Behind(hold)
		h.Open()
		id := h.Create(h.Upload(batchtest.Input(2 * many)))
		batchtest.Until(t, "the first slots to be taken", func() bool { return h.Pool.InFlight() == c.first })
		h.Pool.Set(func() { h.Pool.Limit = many })
		batchtest.Until(t, "those that came to be taken", func() bool { return h.Pool.InFlight() == c.then })
		if limit := h.Engine.Capacity().MaxInFlight; c.told > 0 && limit != c.told || limit < c.then {
			t.Errorf("%d lines may be under way, %d are", limit, c.then)
		}
		close(hold)
		h.Check(h.Wait(id), 2*many)
		if h.Pool.Most > c.then {
			t.Errorf("%d lines were under way", h.Pool.Most)
		}
	}
}

// Memory is that of lines which are not done: one of a slice that takes long
// does not hold that of the others.
func TestMemoryOfLinesThatAreDone(t *testing.T) {
	t.Parallel()
	const slices, lines = 64, 64 * batch.SliceLines
	text := batchtest.Input(lines)
	h := newHarness(t, batch.Config{MemoryBytes: int64(4 * len(text) / slices)})
	long := make(chan struct{})
	h.Pool.Answer = func(ctx context.Context, id string, call int) (batch.Answer, error) {
		if n, err := strconv.Atoi(id[len(id)-5:]); err == nil && n%batch.SliceLines == 0 {
			return batchtest.Behind(long)(ctx, id, call)
		}
		return batchtest.OK(id), nil
	}
	h.Open()
	id := h.Create(h.Upload(text))
	batchtest.Until(t, "all to be done but the first of each slice", func() bool { return h.Get(id).Counts.Completed == lines-slices })
	close(long)
	h.Check(h.Wait(id), lines)
}

// Slots that stay free because no more requests fit into memory are reported, with the
// memory that would fill them.
func TestShortOfMemory(t *testing.T) {
	t.Parallel()
	const slices, lines, fit = 64, 64 * batch.SliceLines, 4
	text := batchtest.Input(lines)
	h := newHarness(t, batch.Config{MemoryBytes: int64(fit*len(text)/slices + 100)})
	hold := make(chan struct{})
	h.Pool.Answer = batchtest.Behind(hold)
	h.Open()
	id := h.Create(h.Upload(text))
	memory := func() batch.Memory { return h.Engine.Capacity().Memory }
	batchtest.Until(t, "it to be told", func() bool { return memory().Wanted > 0 })
	m := memory()
	if m.Taken <= 0 || m.Taken > m.Limit || m.Wanted < 2*m.Limit || m.Wanted > 2*int64(len(text)) {
		t.Errorf("%+v of %d", m, len(text))
	}
	close(hold)
	h.Check(h.Wait(id), lines)
	batchtest.Until(t, "nothing to be taken", func() bool { return memory().Taken == 0 })
}

// Memory is not short where all slots are taken, where all there is runs, and
// where servers refuse what they are given.
func TestMemoryIsNotShort(t *testing.T) {
	t.Parallel()
	refused := func(context.Context, string, int) (batch.Answer, error) {
		return batch.Answer{Status: http.StatusTooManyRequests, Next: batch.Again}, nil
	}
	for name, c := range map[string]struct {
		slots, lines, calls int
		refuse              bool
	}{
		"all slots taken":      {100, 64 * batch.SliceLines, 100, false},
		"all of it runs":       {1000, batch.SliceLines, batch.SliceLines, false},
		"all wait for retries": {1000, 64 * batch.SliceLines, batch.SliceLines, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			text := batchtest.Input(c.lines)
			h := newHarness(t, batch.Config{
				MemoryBytes:     int64(min(len(text), 4*len(text)/(c.lines/batch.SliceLines))) / 2,
				RetryBackoffMin: time.Hour, RetryBackoffMax: time.Hour,
			})
			h.Pool.Limit = c.slots
			hold := make(chan struct{})
			h.Pool.Answer = batchtest.Behind(hold)
			if c.refuse {
				h.Pool.Answer = refused
			}
			h.Open()
			id := h.Create(h.Upload(text))
			batchtest.Until(t, "lines to be sent", func() bool { h.Pool.Lock(); defer h.Pool.Unlock(); return len(h.Pool.Calls) >= c.calls })
			<-time.After(3 * time.Second) // memory pressure is evaluated three times meanwhile
			if m := h.Engine.Capacity().Memory; m.Wanted != 0 || m.Taken == 0 {
				t.Errorf("%+v", m)
			}
			if c.refuse {
				return
			}
			close(hold)
			h.Check(h.Wait(id), c.lines)
		})
	}
}
