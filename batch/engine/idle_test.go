package engine_test

import (
	"context"
	"net/http"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tidegate/tidegate/batch"
	"github.com/tidegate/tidegate/batch/batchtest"
)

// While no work is possible an engine only looks for work now and then: waiting does not
// use a processor.
func TestIdleWhileNothingCanHappen(t *testing.T) {
	t.Parallel()
	text := batchtest.Input(1000)
	for _, c := range []struct {
		name    string
		cfg     batch.Config
		batches int
		play    func(p *batchtest.Pool)
		then    func(h harness, ids []string)
	}{
		{"no batch", batch.Config{}, 0, nil, nil},
		{"all slots taken", batch.Config{}, 1, func(p *batchtest.Pool) { p.Limit, p.Answer = 10, batchtest.Never() }, nil},
		{"all that may be under way is", batch.Config{MaxInFlight: 10}, 1, func(p *batchtest.Pool) { p.Answer = batchtest.Never() }, nil},
		{"no slot at all", batch.Config{}, 1, func(p *batchtest.Pool) { p.Limit = 0 }, nil},
		{"the model is down", batch.Config{}, 1, func(p *batchtest.Pool) { p.Down = true }, nil},
		{"memory is taken", batch.Config{MemoryBytes: int64(len(text) / 5)}, 1, func(p *batchtest.Pool) { p.Answer = batchtest.Never() }, nil},
		{"memory is less than a slice", batch.Config{MemoryBytes: 1}, 3, func(p *batchtest.Pool) { p.Answer = batchtest.Never() }, nil},
		{"every line waits for its retry", batch.Config{RetryBackoffMin: time.Hour, RetryBackoffMax: time.Hour}, 1, func(p *batchtest.Pool) {
			p.Answer = func(context.Context, string, int) (batch.Answer, error) {
				return batch.Answer{Status: http.StatusTooManyRequests, Header: http.Header{"Retry-After": {"3600"}}}, nil
			}
		}, nil},
		{"paused", batch.Config{}, 1, func(p *batchtest.Pool) { p.Answer = batchtest.Never() }, func(h harness, ids []string) { h.Pause(ids[0]) }},
		{"batches wait for their turn", batch.Config{MaxConcurrentBatches: 2}, 20, func(p *batchtest.Pool) { p.Limit, p.Answer = 30, batchtest.Never() }, nil},
		{"batches wait for a model that is down", batch.Config{MaxConcurrentBatches: 2}, 20, func(p *batchtest.Pool) { p.Down = true }, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			h := newHarness(t, c.cfg)
			if c.play != nil {
				c.play(h.Pool)
			}
			h.Open()
			var ids []string
			for range c.batches {
				ids = append(ids, h.Create(h.Upload(text)))
			}
			for _, id := range ids {
				batchtest.Until(t, "the batch to be validated", func() bool { return h.Get(id).Status == batch.InProgress })
			}
			if c.then != nil {
				c.then(h, ids)
			}
			h.wantIdle(t)
		})
	}
	for name, away := range map[string]func(*batchtest.SharedStore) *atomic.Bool{
		"the store is away":   func(s *batchtest.SharedStore) *atomic.Bool { return &s.Away },
		"the store is silent": func(s *batchtest.SharedStore) *atomic.Bool { return &s.Silent },
		"the store is slow":   func(s *batchtest.SharedStore) *atomic.Bool { return &s.Slow },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := batchtest.NewCluster(t, batch.Config{Lease: 2 * time.Second}, 1)
			h := harness{s.Members[0]}
			h.Pool.Set(func() { h.Pool.Limit, h.Pool.Answer = 20, batchtest.Never() })
			h.Create(h.Upload(text))
			batchtest.Until(t, "lines to run", func() bool { return h.Pool.InFlight() > 0 })
			away(s.Store).Store(true)
			t.Cleanup(func() { away(s.Store).Store(false) })
			h.wantIdle(t)
		})
	}
}

// wantIdle checks that the engine looks for work only now and then.
func (h harness) wantIdle(t *testing.T) {
	t.Helper()
	const (
		wait = 300 * time.Millisecond
		busy = 300 // looks in it; they are a handful when idle, and 10,000 and more when it spins
	)
	looks := func() int64 {
		before := h.Pool.Looks.Load()
		<-time.After(wait) // of time in which nothing can be done
		return h.Pool.Looks.Load() - before
	}
	looks() // it may have something to do at first
	if n := min(looks(), looks()); n > busy {
		t.Errorf("it looks for work %d times in %s", n, wait)
	}
}
