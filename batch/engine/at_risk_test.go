package engine_test

import (
	"testing"
	"time"

	"github.com/tidegate/tidegate/batch"
	"github.com/tidegate/tidegate/batch/batchtest"
	"github.com/tidegate/tidegate/batch/engine"
)

// Batches that will be late are found among all that are active, by the engine
// that serves them, and only for whom they belong to.
func TestLateBatches(t *testing.T) {
	t.Parallel()
	h := newHarness(t, batch.Config{})
	h.Pool.Set(func() { h.Pool.Limit = 0 })
	h.Open()
	engine.LookOften(h.Engine)
	file := h.Upload(batchtest.Input(1))
	for range 60 {
		h.Create(file)
	}
	id := h.CreateFor(file, 30*time.Minute)
	if _, err := h.Engine.PauseBatch(t.Context(), tenant, id); err != nil {
		t.Fatal(err)
	}
	late := func(tenant string) []engine.AtRisk {
		late, err := h.Engine.BatchesAtRisk(t.Context(), tenant)
		if err != nil {
			t.Fatal(err)
		}
		return late
	}
	batchtest.Until(t, "the one that is paused is late", func() bool {
		l := late(tenant)
		return len(l) == 1 && l[0].ID == id && l[0].Why == engine.RiskPaused && l[0].Left() == 1
	})
	if l := late("rival"); l != nil {
		t.Errorf("got late batches %v of another tenant, want none", l)
	}
}
