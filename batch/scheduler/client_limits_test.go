package scheduler

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/tidegate/tidegate/access"
	"github.com/tidegate/tidegate/access/limits"
	"github.com/tidegate/tidegate/batch"
	"github.com/tidegate/tidegate/internal/openai"
)

// limitedPool is a dispatcher with slots and limits of clients. It counts the slots that
// are held.
type limitedPool struct {
	slotPool
	limiter *limits.Limiter
	held    int
	asked   int // calls of Reserve
}

type heldSlot struct {
	slot
	pool *limitedPool
}

func (s heldSlot) Release() { s.pool.held-- }

func (p *limitedPool) Reserve(model, avoid string, fit func(string) bool) (batch.Slot, error) {
	p.asked++
	s, err := p.slotPool.Reserve(model, avoid, fit)
	if err != nil {
		return nil, err
	}
	p.held++
	return heldSlot{s.(slot), p}, nil
}

func (p *limitedPool) Capabilities() batch.DispatcherCapabilities {
	return batch.DispatcherCapabilities{Limits: p.limiter}
}

// A client that has reached a limit is known before a slot is reserved and a line is taken
// out of its order.
func TestLimitsAreAskedFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		limiter := limits.New(nil)
		limiter.Apply(limits.Config{Tenants: map[string]access.Limits{"a": {RequestsInFlight: 2}}})
		pool := &limitedPool{slotPool: slotPool{slots: map[string]int{"m": 100}}, limiter: limiter}
		s := newQueueSet(unlimited)
		q := newBatchQueue(batch.Batch{ID: "1", Tenant: "a"})
		s.byID["1"] = q
		w := &work{batchQueue: q, left: 9}
		for i := range 9 {
			w.lines = append(w.lines, newLine(w, i, request("m")))
		}
		s.add(q, w)
		p := pickerOf(batch.Config{}, s, pool)
		started := 0
		for range 4 {
			p.beginRound()
			for {
				l, _ := p.next(make(map[string]bool), func(string, error) {})
				if l == nil {
					break
				}
				started++
				l.attempts.grant.End(limits.Outcome{})
				p.limits.lineEnded("a")
				if started%3 == 0 {
					if _, refused := limiter.TakeLine(limits.Client{Tenant: "a"}, limits.Spend{Tokens: 1}); refused != nil { // held for ever
						t.Fatal(refused)
					}
				}
			}
		}
		if started != 6 || pool.asked != started {
			t.Errorf("got %d lines and %d reservations, want 6 of both: the limit is reached then", started, pool.asked)
		}
	})
}

// A line over a limit waits without a slot, and lines of other clients start meanwhile.
// The line starts when the limit allows it.
func TestLinesWaitForLimits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		limiter := limits.New(nil)
		limiter.Apply(limits.Config{Tenants: map[string]access.Limits{"a": {RequestsPerMinute: 2, RequestsInFlight: 3}}})
		pool := &limitedPool{slotPool: slotPool{slots: map[string]int{"m": 100}}, limiter: limiter}
		s := newQueueSet(unlimited)
		for _, b := range []batch.Batch{{ID: "1", Tenant: "a"}, {ID: "2", Tenant: "a"}, {ID: "3", Tenant: "b"}} {
			q := newBatchQueue(b)
			s.byID[b.ID] = q
			w := &work{batchQueue: q, left: 5}
			for i := range 5 {
				w.lines = append(w.lines, newLine(w, i, request("m")))
			}
			s.add(q, w)
		}
		p := pickerOf(batch.Config{}, s, pool)
		start := func() (started map[string]int, lines []*line) {
			started = make(map[string]int)
			p.beginRound()
			for {
				l, _ := p.next(make(map[string]bool), func(string, error) {})
				if l == nil {
					return started, lines
				}
				l.work.batchQueue.begin("m", 1)
				p.started(l, "u")
				started[l.work.batchQueue.batch.Tenant]++
				lines = append(lines, l)
			}
		}
		first, lines := start()
		if first["a"] != 2 || first["b"] != 5 || pool.held != 7 {
			t.Fatalf("got %v and %d slots, want 2 of a, 5 of b and 7 slots", first, pool.held)
		}
		for i, want := range []int{1, 0} { // the third in flight, and none beyond
			time.Sleep(30 * time.Second)
			if got, _ := start(); got["a"] != want {
				t.Errorf("after %d minutes: got %v, want %d of a", i, got, want)
			}
		}
		for _, l := range lines {
			if l.tries().grant != nil {
				done := outcome{done: true, result: batch.LineResult{Usage: openai.Usage{InputTokens: 1, OutputTokens: 1}}}
				done.settle(l.attempts.grant)
				p.limits.lineEnded("a")
			}
		}
		if got, _ := start(); got["a"] != 1 {
			t.Errorf("after two lines ended: got %v, want 1 of a", got)
		}
		if pending := s.byID["1"].nPending + s.byID["2"].nPending; pending != 6 {
			t.Errorf("got %d waiting lines, want 6", pending)
		}
	})
}

// Places of batches whose client has reached a limit are set aside, and its waiting batches
// get none.
func TestLimitedBatchesLeavePlaces(t *testing.T) {
	s := noBatches(2)
	s.refreshed([]batch.Batch{{ID: "a1", Tenant: "a"}, {ID: "a2", Tenant: "a"}, {ID: "a3", Tenant: "a"}})
	r, now := s.rotation, time.Now()
	r.admit(&places{}, now)
	for _, q := range r.queues.byID {
		q.work[claimKey{}] = &work{batchQueue: q}
	}
	s.limits.postponed[limits.Client{Tenant: "a"}] = postponed{until: now.Add(time.Hour)}
	s.refreshed([]batch.Batch{{ID: "a1", Tenant: "a"}, {ID: "a2", Tenant: "a"}, {ID: "a3", Tenant: "a"}, {ID: "b1", Tenant: "b"}})
	p := r.endTurns(now)
	r.admit(&p, now)
	if got := r.served(); got != "a1 a2 b1" {
		t.Errorf("served: got %q, want a1 a2 b1", got)
	}
}
