package engine_test

import (
	"testing"
	"time"

	"github.com/tidegate/tidegate/batch"
	"github.com/tidegate/tidegate/batch/batchtest"
	"github.com/tidegate/tidegate/batch/engine"
)

// wantReason waits until the wait reason of a batch is want.
func (h harness) wantReason(id, want string) {
	h.T.Helper()
	for end := time.Now().Add(batchtest.Patience); ; time.Sleep(time.Millisecond) {
		got := h.Engine.WaitReason(h.T.Context(), h.Get(id))
		if got == want {
			return
		}
		if time.Now().After(end) {
			h.T.Fatalf("wait reason: got %q, want %q", got, want)
		}
	}
}

// A batch in progress reports the state of its model's servers while none accepts
// requests, unless it is paused.
func TestWaitReasonOfAModelWithoutServer(t *testing.T) {
	t.Parallel()
	h := newHarness(t, batch.Config{})
	h.Pool.Set(func() { h.Pool.Loading = true })
	h.Open()
	id := h.Create(h.Upload(batchtest.Input(3)))
	h.wantReason(id, `waiting for model "m": a server is loading`)
	h.Pool.Set(func() { h.Pool.Loading, h.Pool.Away = false, true })
	h.wantReason(id, `waiting for model "m": its servers are stopped`)
	h.Pool.Set(func() { h.Pool.Away, h.Pool.Down = false, true })
	h.wantReason(id, `waiting for model "m": no server accepts requests`)
	if b := h.Get(id); b.Status != batch.InProgress {
		t.Fatalf("the batch is %s, want in_progress", b.Status)
	}
	h.Pause(id)
	h.wantReason(id, "")
	if _, err := h.Engine.ResumeBatch(t.Context(), tenant, id); err != nil {
		t.Fatal(err)
	}
	h.wantReason(id, `waiting for model "m": no server accepts requests`)
	h.Pool.Set(func() { h.Pool.Down = false })
	h.wantReason(id, "")
	h.Check(h.Wait(id), 3)
}

// A batch stays in validation while a server that may have its model loads. It reports
// that once its lines are counted.
func TestWaitReasonOfABatchInValidation(t *testing.T) {
	t.Parallel()
	h := newHarness(t, batch.Config{})
	h.Pool.Set(func() { h.Pool.Discovered, h.Pool.Models = false, nil })
	h.Open()
	engine.LookOften(h.Engine)
	id := h.Create(h.Upload(inputOf("m", "m")))
	h.wantReason(id, `waiting for model "m": a server is loading`)
	if b := h.Get(id); b.Status != batch.Validating {
		t.Fatalf("the batch is %s, want validating", b.Status)
	}
	h.Pool.Set(func() { h.Pool.Discovered, h.Pool.Models = true, map[string]bool{"m": true} })
	if b := h.Wait(id); h.Engine.WaitReason(t.Context(), b) != "" {
		t.Errorf("the batch is %s and waits: %s", b.Status, h.Engine.WaitReason(t.Context(), b))
	}
}

// A batch of several models waits only when none of its remaining lines has a server.
func TestWaitReasonOfSeveralModels(t *testing.T) {
	t.Parallel()
	h := newHarness(t, batch.Config{})
	h.Pool.Lose("n")
	gate := make(chan struct{})
	h.Pool.Set(func() { h.Pool.Answer = batchtest.Behind(gate) })
	h.Open()
	engine.LookOften(h.Engine)
	id := h.Create(h.Upload(inputOf("m", "n", "m", "n", "n")))
	batchtest.Until(t, "the lines of m are in flight", func() bool { return h.Pool.InFlight() == 2 })
	if got := h.Engine.WaitReason(t.Context(), h.Get(id)); got != "" {
		t.Errorf("wait reason while lines run: got %q, want none", got)
	}
	close(gate)
	h.wantReason(id, `waiting for model "n": no server accepts requests`)
	h.Pool.Recover()
	if b := h.Wait(id); b.Status != batch.Completed || b.Counts.Completed != 5 {
		t.Errorf("the batch ended as %s with %+v, want completed with 5 lines", b.Status, b.Counts)
	}
}

// A batch reports that no gateway works on batches.
func TestWaitReasonWithoutWorkers(t *testing.T) {
	t.Parallel()
	s := batchtest.NewCluster(t, batch.Config{Role: batch.RoleServe}, 1)
	serving := harness{s.Members[0]}
	id := serving.Create(serving.Upload(batchtest.Input(5)))
	serving.wantReason(id, "no gateway works on batches")
	s.Join(batch.Config{Role: batch.RoleWork})
	serving.wantReason(id, "")
	serving.Check(serving.Wait(id), 5)
}
