package engine_test

import (
	"errors"
	"testing"
	"time"

	"github.com/tidegate/tidegate/batch"
)

// callCount is how many calls the pool had.
func (p *fakePool) callCount() (n int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, calls := range p.calls {
		n += calls
	}
	return n
}

func (h *house) pause(id string) batch.Batch {
	h.t.Helper()
	b, err := h.engine.PauseBatch(h.t.Context(), tenant, id)
	if err != nil {
		h.t.Fatal(err)
	}
	return b
}

func (h *house) resume(id string) {
	h.t.Helper()
	if _, err := h.engine.ResumeBatch(h.t.Context(), tenant, id); err != nil {
		h.t.Fatal(err)
	}
}

// settled waits until as many lines are durable as were sent, and none runs.
func (h *house) settled(t *testing.T, id string, sent int) {
	t.Helper()
	until(t, "what runs is durable", func() bool {
		return h.engine.Health(t.Context()).InFlight == 0 && h.get(id).Counts.Completed == int64(sent)
	})
}

// A paused batch begins no line; those that run finish and are kept.
func TestPauseLetsLinesFinish(t *testing.T) {
	h, id, hold := newHeldHouse(t, batch.Config{MaxInFlight: 20}, 500)
	first := h.pause(id)
	if first.Status != batch.InProgress || first.PausedAt.IsZero() {
		t.Errorf("paused: %+v", first)
	}
	if again := h.pause(id); !again.PausedAt.Equal(first.PausedAt) {
		t.Errorf("paused again: %s, then %s", first.PausedAt, again.PausedAt)
	}
	close(hold)
	h.settled(t, id, 20)
	if n := h.pool.callCount(); n != 20 {
		t.Errorf("%d lines were sent, 20 of them before the pause", n)
	}
	h.resume(id)
	b := h.wait(id)
	if b.Status != batch.Completed || !b.PausedAt.IsZero() {
		t.Errorf("%s, paused at %s", b.Status, b.PausedAt)
	}
	h.check(b, 500)
	if r := h.pool.repeated(); r != 0 {
		t.Errorf("%d calls repeated", r)
	}
}

// A pause survives a restart.
func TestPauseSurvivesARestart(t *testing.T) {
	h, id, hold := newHeldHouse(t, batch.Config{MaxInFlight: 20}, 500)
	h.pause(id)
	close(hold)
	h.settled(t, id, 20)
	h.close(0)
	h.open()
	if b := h.get(id); b.PausedAt.IsZero() {
		t.Error("the pause did not survive a restart")
	}
	if n := h.pool.callCount(); n != 20 {
		t.Errorf("%d lines were sent, 20 of them before the pause", n)
	}
	h.resume(id)
	h.check(h.wait(id), 500)
}

// While a batch is paused others have its slots, and its place among those
// that are served.
func TestPausedBatchMakesRoom(t *testing.T) {
	h, first, hold := newHeldHouse(t, batch.Config{MaxInFlight: 10, MaxConcurrentBatches: 1}, 300)
	h.pause(first)
	close(hold)
	second := h.create(h.upload(input(300)))
	h.check(h.wait(second), 300)
	if b := h.get(first); b.Status != batch.InProgress || b.Counts.Completed != 10 {
		t.Errorf("the paused one is %s with %+v", b.Status, b.Counts)
	}
	h.resume(first)
	h.check(h.wait(first), 300)
}

func TestPausedBatchCanEnd(t *testing.T) {
	h := newHouse(t, batch.Config{MaxInFlight: 10, ExpireInterval: 5 * time.Millisecond})
	answer, _ := letSome(10)
	h.pool.answer = answer
	h.open()
	cancelled := h.create(h.upload(input(100)))
	h.waitCounted(cancelled, 10)
	h.pause(cancelled)
	if _, err := h.engine.CancelBatch(t.Context(), tenant, cancelled); err != nil {
		t.Fatal(err)
	}
	if b := h.wait(cancelled); b.Status != batch.Cancelled || b.Counts.Completed != 10 || !b.PausedAt.IsZero() {
		t.Errorf("%+v", b)
	}
	expired := h.createFor(h.upload(input(100)), 50*time.Millisecond)
	if _, err := h.engine.PauseBatch(t.Context(), tenant, expired); err != nil && !errors.Is(err, batch.ErrConflict) {
		t.Fatal(err)
	}
	if b := h.wait(expired); b.Status != batch.Expired {
		t.Errorf("%+v", b)
	}
	for _, id := range []string{cancelled, expired} {
		if b, err := h.engine.PauseBatch(t.Context(), tenant, id); !errors.Is(err, batch.ErrConflict) || b.ID != id {
			t.Errorf("pausing what is over: %v", err)
		}
		if _, err := h.engine.ResumeBatch(t.Context(), tenant, id); !errors.Is(err, batch.ErrConflict) {
			t.Errorf("resuming what is over: %v", err)
		}
	}
}

// A pause at one gateway stops the others too, though nobody tells them.
func TestPauseStopsOtherGateways(t *testing.T) {
	s := newStreet(t, batch.Config{MaxInFlight: 20, Lease: time.Hour}, 2) // what is not handed back is never run
	hold := make(chan struct{})
	for _, h := range s.houses {
		h.pool.set(func() {
			h.pool.answer = gate{hold}.answer
			h.pool.received = make(chan string, 3000)
		})
	}
	id := s.houses[0].create(s.houses[0].upload(input(2000)))
	for _, h := range s.houses {
		for range 20 {
			<-h.pool.received
		}
	}
	s.houses[0].pause(id)
	s.looked(t)
	close(hold)
	for _, h := range s.houses {
		h.settled(t, id, 40)
	}
	if n := s.houses[0].pool.callCount() + s.houses[1].pool.callCount(); n != 40 {
		t.Errorf("%d lines were sent, 40 of them before the pause", n)
	}
	s.houses[1].resume(id) // at another one than it was paused at
	s.houses[0].check(s.houses[0].wait(id), 2000)
	s.wantOnce(t, 2000)
}
