package engine_test

import (
	"errors"
	"testing"
	"time"

	"github.com/tidegate/tidegate/batch"
	"github.com/tidegate/tidegate/batch/batchtest"
)

// A paused batch begins no line; those that run finish and are kept.
func TestPauseLetsLinesFinish(t *testing.T) {
	t.Parallel()
	h, id, hold := newHeldHarness(t, batch.Config{MaxInFlight: 20}, 500)
	first := h.Pause(id)
	if first.Status != batch.InProgress || first.PausedAt.IsZero() {
		t.Errorf("paused: %+v", first)
	}
	if again := h.Pause(id); !again.PausedAt.Equal(first.PausedAt) {
		t.Errorf("paused again: %s, then %s", first.PausedAt, again.PausedAt)
	}
	close(hold)
	h.WaitIdle(id, 20)
	if n := h.Pool.CallCount(); n != 20 {
		t.Errorf("%d lines were sent, 20 of them before the pause", n)
	}
	h.Resume(id)
	b := h.Wait(id)
	if b.Status != batch.Completed || !b.PausedAt.IsZero() {
		t.Errorf("%s, paused at %s", b.Status, b.PausedAt)
	}
	h.Check(b, 500)
	if r := h.Pool.Repeated(); r != 0 {
		t.Errorf("%d calls repeated", r)
	}
}

// A pause survives a restart.
func TestPauseSurvivesARestart(t *testing.T) {
	t.Parallel()
	h, id, hold := newHeldHarness(t, batch.Config{MaxInFlight: 20}, 500)
	h.Pause(id)
	close(hold)
	h.WaitIdle(id, 20)
	h.Close(0)
	h.Open()
	if b := h.Get(id); b.PausedAt.IsZero() {
		t.Error("the pause did not survive a restart")
	}
	if n := h.Pool.CallCount(); n != 20 {
		t.Errorf("%d lines were sent, 20 of them before the pause", n)
	}
	h.Resume(id)
	h.Check(h.Wait(id), 500)
}

// While a batch is paused others have its slots, and its place among those
// that are served.
func TestPausedBatchMakesRoom(t *testing.T) {
	t.Parallel()
	h, first, hold := newHeldHarness(t, batch.Config{MaxInFlight: 10, MaxConcurrentBatches: 1}, 300)
	h.Pause(first)
	close(hold)
	second := h.Create(h.Upload(batchtest.Input(300)))
	h.Check(h.Wait(second), 300)
	if b := h.Get(first); b.Status != batch.InProgress || b.Counts.Completed != 10 {
		t.Errorf("the paused one is %s with %+v", b.Status, b.Counts)
	}
	h.Resume(first)
	h.Check(h.Wait(first), 300)
}

func TestPausedBatchCanEnd(t *testing.T) {
	t.Parallel()
	h := newHarness(t, batch.Config{MaxInFlight: 10, ExpireInterval: 5 * time.Millisecond})
	answer, _ := batchtest.First(10)
	h.Pool.Answer = answer
	h.Open()
	cancelled := h.Create(h.Upload(batchtest.Input(100)))
	h.WaitCounted(cancelled, 10)
	h.Pause(cancelled)
	if _, err := h.Engine.CancelBatch(t.Context(), tenant, cancelled); err != nil {
		t.Fatal(err)
	}
	if b := h.Wait(cancelled); b.Status != batch.Cancelled || b.Counts.Completed != 10 || !b.PausedAt.IsZero() {
		t.Errorf("%+v", b)
	}
	expired := h.CreateFor(h.Upload(batchtest.Input(100)), 50*time.Millisecond)
	if _, err := h.Engine.PauseBatch(t.Context(), tenant, expired); err != nil && !errors.Is(err, batch.ErrConflict) {
		t.Fatal(err)
	}
	if b := h.Wait(expired); b.Status != batch.Expired {
		t.Errorf("%+v", b)
	}
	for _, id := range []string{cancelled, expired} {
		if b, err := h.Engine.PauseBatch(t.Context(), tenant, id); !errors.Is(err, batch.ErrConflict) || b.ID != id {
			t.Errorf("pausing what is over: %v", err)
		}
		if _, err := h.Engine.ResumeBatch(t.Context(), tenant, id); !errors.Is(err, batch.ErrConflict) {
			t.Errorf("resuming what is over: %v", err)
		}
	}
}

// A pause at one gateway stops the others too, without a notification.
func TestPauseStopsOtherGateways(t *testing.T) {
	t.Parallel()
	s := batchtest.NewCluster(t, batch.Config{MaxInFlight: 20, Lease: time.Hour}, 2) // a slice that is not released is never run
	hold := make(chan struct{})
	for _, h := range s.Members {
		h.Pool.Set(func() {
			h.Pool.Answer = batchtest.Behind(hold)
			h.Pool.Received = make(chan string, 3000)
		})
	}
	id := s.Members[0].Create(s.Members[0].Upload(batchtest.Input(2000)))
	for _, h := range s.Members {
		for range 20 {
			<-h.Pool.Received
		}
	}
	s.Members[0].Pause(id)
	s.WaitLooked()
	close(hold)
	for _, h := range s.Members {
		h.WaitIdle(id, 40)
	}
	if n := s.Members[0].Pool.CallCount() + s.Members[1].Pool.CallCount(); n != 40 {
		t.Errorf("%d lines were sent, 40 of them before the pause", n)
	}
	s.Members[1].Resume(id) // at another one than it was paused at
	s.Members[0].Check(s.Members[0].Wait(id), 2000)
	s.WantOnce(2000)
}
