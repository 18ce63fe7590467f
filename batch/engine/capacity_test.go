package engine_test

import (
	"context"
	"net/http"
	"strconv"
	"testing"
	"time"

	"github.com/tidegate/tidegate/batch"
)

// A gateway that is not told how many lines it may have under way fills what
// slots there are, also those that come later; one that is told keeps to it.
func TestFillsWhatSlotsThereAre(t *testing.T) {
	const few, many, told = 300, 1000, 100
	for _, c := range []struct{ told, first, then int }{{0, few, many}, {told, told, told}} {
		h := newHouse(t, batch.Config{MaxInFlight: c.told})
		h.pool.slots = few
		hold := gate{make(chan struct{})}
		h.pool.answer = hold.answer
		h.open()
		id := h.create(h.upload(input(2 * many)))
		until(t, "the first slots to be taken", func() bool { return h.inFlight() == c.first })
		h.pool.set(func() { h.pool.slots = many })
		until(t, "those that came to be taken", func() bool { return h.inFlight() == c.then })
		if limit := h.engine.Capacity().MaxInFlight; c.told > 0 && limit != c.told || limit < c.then {
			t.Errorf("%d lines may be under way, %d are", limit, c.then)
		}
		close(hold.open)
		h.check(h.wait(id), 2*many)
		if h.pool.most > c.then {
			t.Errorf("%d lines were under way", h.pool.most)
		}
	}
}

// Memory is that of lines which are not done: one of a slice that takes long
// does not hold that of the others.
func TestMemoryOfLinesThatAreDone(t *testing.T) {
	const slices, lines = 64, 64 * batch.SliceLines
	text := input(lines)
	h := newHouse(t, batch.Config{MemoryBytes: int64(4 * len(text) / slices)})
	long := gate{make(chan struct{})}
	h.pool.answer = func(ctx context.Context, id string, call int) (batch.Answer, error) {
		if n, err := strconv.Atoi(id[len(id)-5:]); err == nil && n%batch.SliceLines == 0 {
			return long.answer(ctx, id, call)
		}
		return ok(id), nil
	}
	h.open()
	id := h.create(h.upload(text))
	until(t, "all to be done but the first of each slice", func() bool { return h.get(id).Counts.Completed == lines-slices })
	close(long.open)
	h.check(h.wait(id), lines)
}

// Slots that stay free because no more requests fit into memory are told, with
// what would fill them.
func TestShortOfMemory(t *testing.T) {
	const slices, lines, fit = 64, 64 * batch.SliceLines, 4
	text := input(lines)
	h := newHouse(t, batch.Config{MemoryBytes: int64(fit*len(text)/slices + 100)})
	hold := gate{make(chan struct{})}
	h.pool.answer = hold.answer
	h.open()
	id := h.create(h.upload(text))
	memory := func() batch.Memory { return h.engine.Capacity().Memory }
	until(t, "it to be told", func() bool { return memory().Wanted > 0 })
	m := memory()
	if m.Taken <= 0 || m.Taken > m.Limit || m.Wanted < 2*m.Limit || m.Wanted > 2*int64(len(text)) {
		t.Errorf("%+v of %d", m, len(text))
	}
	close(hold.open)
	h.check(h.wait(id), lines)
	until(t, "nothing to be taken", func() bool { return memory().Taken == 0 })
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
			text := input(c.lines)
			h := newHouse(t, batch.Config{
				MemoryBytes:     int64(min(len(text), 4*len(text)/(c.lines/batch.SliceLines))) / 2,
				RetryBackoffMin: time.Hour, RetryBackoffMax: time.Hour,
			})
			h.pool.slots = c.slots
			hold := gate{make(chan struct{})}
			h.pool.answer = hold.answer
			if c.refuse {
				h.pool.answer = refused
			}
			h.open()
			id := h.create(h.upload(text))
			until(t, "lines to be sent", func() bool { h.pool.mu.Lock(); defer h.pool.mu.Unlock(); return len(h.pool.calls) >= c.calls })
			<-time.After(3 * time.Second) // in which it is looked for three times
			if m := h.engine.Capacity().Memory; m.Wanted != 0 || m.Taken == 0 {
				t.Errorf("%+v", m)
			}
			if c.refuse {
				return
			}
			close(hold.open)
			h.check(h.wait(id), c.lines)
		})
	}
}
