package engine_test

import (
	"context"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/tidegate/tidegate/batch"
	"github.com/tidegate/tidegate/batch/batchtest"
)

func TestModelWithoutServerHoldsNobodyUp(t *testing.T) {
	t.Parallel()
	h := newHarness(t, batch.Config{MaxInFlight: 8})
	h.Pool.Models["gone"] = true
	h.Open()
	h.Pool.Set(func() { h.Pool.Down = true })
	id := h.Create(h.Upload(batchtest.InputFor(20, "gone")))
	deadline := time.Now().Add(batchtest.Patience)
	for len(h.Engine.Health(t.Context()).Paused) == 0 {
		if time.Now().After(deadline) {
			t.Fatal("health does not say that the model has no server")
		}
	}
	h.Pool.Set(func() { h.Pool.Down = false })
	h.Check(h.Wait(id), 20)
	if health := h.Engine.Health(t.Context()); !health.OK() {
		t.Errorf("%+v", health)
	}
}

// Batches whose model has no server keep none of another model waiting, however
// many they are.
func TestBatchesWithoutServerHoldNobodyUp(t *testing.T) {
	t.Parallel()
	h := newHarness(t, batch.Config{MaxInFlight: 8, MaxConcurrentBatches: 2})
	h.Pool.Lose("gone")
	h.Open()
	var stalled []string
	for _, lines := range []int{200, 10, 3000} {
		stalled = append(stalled, h.Create(h.Upload(batchtest.InputFor(lines, "gone"))))
	}
	for _, id := range stalled {
		batchtest.Until(t, "it is in progress", func() bool { return h.Get(id).Status == batch.InProgress })
	}
	h.Check(h.Wait(h.Create(h.Upload(batchtest.Input(300)))), 300)
	if health := h.Engine.Health(t.Context()); len(health.Paused) == 0 {
		t.Error("health does not say that a model has no server")
	}
	h.Pool.Recover()
	for i, lines := range []int{200, 10, 3000} {
		h.Check(h.Wait(stalled[i]), lines)
	}
	if health := h.Engine.Health(t.Context()); !health.OK() {
		t.Errorf("%+v", health)
	}
}

// Nor do those whose model has servers that live requests fill.
func TestBatchesWithoutSlotHoldNobodyUp(t *testing.T) {
	t.Parallel()
	h := newHarness(t, batch.Config{MaxInFlight: 8, MaxConcurrentBatches: 2})
	h.Pool.Lose()
	h.Pool.Set(func() { h.Pool.Models["full"], h.Pool.FullModels = true, map[string]bool{"full": true} })
	h.Open()
	stalled := []string{h.Create(h.Upload(batchtest.InputFor(200, "full"))), h.Create(h.Upload(batchtest.InputFor(200, "full")))}
	for _, id := range stalled {
		batchtest.Until(t, "it is in progress", func() bool { return h.Get(id).Status == batch.InProgress })
	}
	h.Check(h.Wait(h.Create(h.Upload(batchtest.Input(300)))), 300)
	h.Pool.Set(func() { h.Pool.FullModels = nil })
	for _, id := range stalled {
		h.Check(h.Wait(id), 200)
	}
}

// Lines of a model that has a server do not wait behind those of one that has
// none, in the same batch.
func TestLinesWithoutServerHoldNoOthersUp(t *testing.T) {
	t.Parallel()
	h := newHarness(t, batch.Config{MaxInFlight: 8})
	h.Pool.Lose("gone")
	h.Open()
	id := h.Create(h.Upload(batchtest.InputFor(128, "gone") + batchtest.InputFrom(128, 64)))
	h.WaitCounted(id, 64)
	h.Pool.Recover()
	h.Check(h.Wait(id), 192)
	if r := h.Pool.Repeated(); r != 0 {
		t.Errorf("%d calls repeated", r)
	}
}

// A gateway that reaches no server of a model leaves its lines to those that do.
func TestOthersRunWhatOneCannot(t *testing.T) {
	t.Parallel()
	s := batchtest.NewCluster(t, batch.Config{MaxInFlight: 64}, 2)
	blind, seeing := s.Members[0], s.Members[1]
	blind.Pool.Lose("m")
	seeing.Pool.Set(func() { seeing.Pool.Limit = 0 })
	id := blind.Create(blind.Upload(batchtest.Input(128)))
	batchtest.Until(t, "the gateway without a server has claimed all", func() bool {
		free, err := s.Store.Store.ClaimableSlices(t.Context(), id, 10)
		if err != nil {
			t.Fatal(err)
		}
		return blind.Get(id).Status == batch.InProgress && len(free) == 0
	})
	seeing.Pool.Set(func() { seeing.Pool.Limit = 64 })
	seeing.Check(seeing.Wait(id), 128)
	s.WantOnce(128)
}

// Lines that were tried are not released while their model has no server: a release
// would lose the count of their retries.
func TestTriedLinesAreKept(t *testing.T) {
	t.Parallel()
	h := newHarness(t, batch.Config{MaxInFlight: 8, MaxConcurrentBatches: 1, Retries: 1})
	h.Pool.Set(func() { h.Pool.Models["n"] = true })
	h.Pool.Answer = func(_ context.Context, id string, call int) (batch.Answer, error) {
		if id != batchtest.CustomID(0) {
			return batchtest.OK(id), nil
		}
		if call == 1 {
			h.Pool.Lose("m")
		}
		return batchtest.Status(http.StatusInternalServerError, `{}`), nil
	}
	h.Open()
	id := h.Create(h.Upload(batchtest.Input(1)))
	batchtest.Until(t, "it was tried", func() bool { return h.Pool.CallCount() == 1 })
	other := h.Create(h.Upload(strings.ReplaceAll(batchtest.InputFrom(1, 10), `"m"`, `"n"`))) // once the first has been stalled for long enough
	h.Wait(other)
	h.Pool.Recover()
	if errs := h.Check(h.Wait(id), 1); len(errs) != 1 {
		t.Errorf("%+v", errs)
	}
	if n := h.Pool.Repeated(); n != 1 {
		t.Errorf("tried %d times, want 2", n+1)
	}
}
