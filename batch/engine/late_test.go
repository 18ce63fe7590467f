package engine_test

import (
	"testing"
	"time"

	"github.com/tidegate/tidegate/batch"
	"github.com/tidegate/tidegate/batch/engine"
)

// Batches that will be late are found among all that are active, by the engine
// that serves them, and only for whom they belong to.
func TestLateBatches(t *testing.T) {
	h := newHouse(t, batch.Config{})
	h.pool.set(func() { h.pool.slots = 0 })
	h.open()
	engine.LookOften(h.engine)
	file := h.upload(input(1))
	for range 60 {
		h.create(file)
	}
	id := h.createFor(file, 30*time.Minute)
	if _, err := h.engine.PauseBatch(t.Context(), tenant, id); err != nil {
		t.Fatal(err)
	}
	late := func(tenant string) []engine.Late {
		late, err := h.engine.LateBatches(t.Context(), tenant)
		if err != nil {
			t.Fatal(err)
		}
		return late
	}
	until(t, "the one that is paused is late", func() bool {
		l := late(tenant)
		return len(l) == 1 && l[0].ID == id && l[0].Why == engine.LatePaused && l[0].Left() == 1
	})
	if l := late("rival"); l != nil {
		t.Errorf("a rival is told of %v", l)
	}
}
