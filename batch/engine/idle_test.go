package engine_test

import (
	"context"
	"net/http"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tidegate/tidegate/batch"
)

// While nothing can be done an engine does nothing but look now and then: who
// waits does not take a processor.
func TestIdleWhileNothingCanHappen(t *testing.T) {
	t.Parallel()
	text := input(1000)
	never := gate{make(chan struct{})}
	for _, c := range []struct {
		name    string
		cfg     batch.Config
		batches int
		play    func(p *fakePool)
		then    func(h *house, ids []string)
	}{
		{"no batch", batch.Config{}, 0, nil, nil},
		{"all slots taken", batch.Config{}, 1, func(p *fakePool) { p.slots, p.answer = 10, never.answer }, nil},
		{"all that may be under way is", batch.Config{MaxInFlight: 10}, 1, func(p *fakePool) { p.answer = never.answer }, nil},
		{"no slot at all", batch.Config{}, 1, func(p *fakePool) { p.slots = 0 }, nil},
		{"the model is down", batch.Config{}, 1, func(p *fakePool) { p.down = true }, nil},
		{"memory is taken", batch.Config{MemoryBytes: int64(len(text) / 5)}, 1, func(p *fakePool) { p.answer = never.answer }, nil},
		{"memory is less than a slice", batch.Config{MemoryBytes: 1}, 3, func(p *fakePool) { p.answer = never.answer }, nil},
		{"every line waits for its retry", batch.Config{RetryBackoffMin: time.Hour, RetryBackoffMax: time.Hour}, 1, func(p *fakePool) {
			p.answer = func(context.Context, string, int) (batch.Answer, error) {
				return batch.Answer{Status: http.StatusTooManyRequests, Header: http.Header{"Retry-After": {"3600"}}}, nil
			}
		}, nil},
		{"paused", batch.Config{}, 1, func(p *fakePool) { p.answer = never.answer }, func(h *house, ids []string) { h.pause(ids[0]) }},
		{"batches wait for their turn", batch.Config{MaxConcurrentBatches: 2}, 20, func(p *fakePool) { p.slots, p.answer = 30, never.answer }, nil},
		{"batches wait for a model that is down", batch.Config{MaxConcurrentBatches: 2}, 20, func(p *fakePool) { p.down = true }, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			h := newHouse(t, c.cfg)
			if c.play != nil {
				c.play(h.pool)
			}
			h.open()
			var ids []string
			for range c.batches {
				ids = append(ids, h.create(h.upload(text)))
			}
			for _, id := range ids {
				until(t, "the batch to be validated", func() bool { return h.get(id).Status == batch.InProgress })
			}
			if c.then != nil {
				c.then(h, ids)
			}
			h.wantIdle(t)
		})
	}
	for name, away := range map[string]func(*sharedStore) *atomic.Bool{
		"the store is away":   func(s *sharedStore) *atomic.Bool { return &s.away },
		"the store is silent": func(s *sharedStore) *atomic.Bool { return &s.silent },
		"the store is slow":   func(s *sharedStore) *atomic.Bool { return &s.slow },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newStreet(t, batch.Config{Lease: 2 * time.Second}, 1)
			h := s.houses[0]
			h.pool.set(func() { h.pool.slots, h.pool.answer = 20, never.answer })
			h.create(h.upload(text))
			until(t, "lines to run", func() bool { return h.inFlight() > 0 })
			away(s.store).Store(true)
			t.Cleanup(func() { away(s.store).Store(false) })
			h.wantIdle(t)
		})
	}
}

// wantIdle wants the engine to look for work now and then alone.
func (h *house) wantIdle(t *testing.T) {
	t.Helper()
	const (
		wait = 300 * time.Millisecond
		busy = 300 // looks in it; they are a handful when idle, and 10,000 and more when it spins
	)
	looks := func() int64 {
		before := h.pool.looks.Load()
		<-time.After(wait) // of time in which nothing can be done
		return h.pool.looks.Load() - before
	}
	looks() // it may have something to do at first
	if n := min(looks(), looks()); n > busy {
		t.Errorf("it looks for work %d times in %s", n, wait)
	}
}
