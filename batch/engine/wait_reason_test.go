package engine_test

import (
	"testing"
	"time"

	"github.com/tidegate/tidegate/batch"
	"github.com/tidegate/tidegate/batch/engine"
)

// wantReason waits until the engine gives a reason why a batch waits.
func (h *house) wantReason(id, want string) {
	h.t.Helper()
	for end := time.Now().Add(patience); ; time.Sleep(time.Millisecond) {
		got := h.engine.WaitReason(h.t.Context(), h.get(id))
		if got == want {
			return
		}
		if time.Now().After(end) {
			h.t.Fatalf("wait reason: got %q, want %q", got, want)
		}
	}
}

// A batch in progress gives the state of its model's servers while none accepts
// requests, unless it is paused.
func TestWaitReasonOfAModelWithoutServer(t *testing.T) {
	h := newHouse(t, batch.Config{})
	h.pool.set(func() { h.pool.loading = true })
	h.open()
	id := h.create(h.upload(input(3)))
	h.wantReason(id, `waiting for model "m": a server is loading`)
	h.pool.set(func() { h.pool.loading, h.pool.away = false, true })
	h.wantReason(id, `waiting for model "m": its servers are stopped`)
	h.pool.set(func() { h.pool.away, h.pool.down = false, true })
	h.wantReason(id, `waiting for model "m": no server accepts requests`)
	if b := h.get(id); b.Status != batch.InProgress {
		t.Fatalf("the batch is %s, want in_progress", b.Status)
	}
	h.pause(id)
	h.wantReason(id, "")
	if _, err := h.engine.ResumeBatch(t.Context(), tenant, id); err != nil {
		t.Fatal(err)
	}
	h.wantReason(id, `waiting for model "m": no server accepts requests`)
	h.pool.set(func() { h.pool.down = false })
	h.wantReason(id, "")
	h.check(h.wait(id), 3)
}

// A batch stays in validation while a server loads that may have its model, and says
// so once its lines are counted.
func TestWaitReasonOfABatchInValidation(t *testing.T) {
	h := newHouse(t, batch.Config{})
	h.pool.set(func() { h.pool.settled, h.pool.models = false, nil })
	h.open()
	engine.LookOften(h.engine)
	id := h.create(h.upload(inputOf("m", "m")))
	h.wantReason(id, `waiting for model "m": a server is loading`)
	if b := h.get(id); b.Status != batch.Validating {
		t.Fatalf("the batch is %s, want validating", b.Status)
	}
	h.pool.set(func() { h.pool.settled, h.pool.models = true, map[string]bool{"m": true} })
	if b := h.wait(id); h.engine.WaitReason(t.Context(), b) != "" {
		t.Errorf("the batch is %s and waits: %s", b.Status, h.engine.WaitReason(t.Context(), b))
	}
}

// A batch of several models waits only when none of its remaining lines has a server.
func TestWaitReasonOfSeveralModels(t *testing.T) {
	h := newHouse(t, batch.Config{})
	h.pool.lose("n")
	gate := make(chan struct{})
	h.pool.set(func() { h.pool.answer = behind(gate) })
	h.open()
	engine.LookOften(h.engine)
	id := h.create(h.upload(inputOf("m", "n", "m", "n", "n")))
	until(t, "the lines of m are in flight", func() bool { return h.inFlight() == 2 })
	if got := h.engine.WaitReason(t.Context(), h.get(id)); got != "" {
		t.Errorf("wait reason while lines run: got %q, want none", got)
	}
	close(gate)
	h.wantReason(id, `waiting for model "n": no server accepts requests`)
	h.pool.find()
	if b := h.wait(id); b.Status != batch.Completed || b.Counts.Completed != 5 {
		t.Errorf("the batch ended as %s with %+v, want completed with 5 lines", b.Status, b.Counts)
	}
}

// A batch that no gateway works on says so.
func TestWaitReasonWithoutWorkers(t *testing.T) {
	s := newStreet(t, batch.Config{Role: batch.RoleServe}, 1)
	serving := s.houses[0]
	id := serving.create(serving.upload(input(5)))
	serving.wantReason(id, "no gateway works on batches")
	s.join(t, batch.Config{Role: batch.RoleWork})
	serving.wantReason(id, "")
	serving.check(serving.wait(id), 5)
}
