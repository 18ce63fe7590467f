package engine_test

import (
	"strings"
	"testing"

	"github.com/tidegate/tidegate/batch"
	"github.com/tidegate/tidegate/batch/batchtest"
)

// Lines that wait for servers which may be stopped are not held up; those that wait
// for servers which are down are.
func TestWaitingForStoppedServersIsNotHeldUp(t *testing.T) {
	t.Parallel()
	h := newHarness(t, batch.Config{})
	h.Pool.Set(func() { h.Pool.Down = true })
	h.Open()
	id := h.Create(h.Upload(batchtest.Input(3)))
	held := func() string { return strings.Join(h.Engine.Health(t.Context()).Paused.Texts(), "; ") }
	batchtest.Until(t, "work is held up by the model", func() bool { return strings.Contains(held(), "down") })
	h.Pool.Set(func() { h.Pool.Away = true })
	batchtest.Until(t, "nothing is held up", func() bool { return held() == "" })
	if b := h.Get(id); b.Status != batch.InProgress || b.Counts.Completed > 0 {
		t.Errorf("batch is %s with %d lines done, want one that waits", b.Status, b.Counts.Completed)
	}
	h.Pool.Set(func() { h.Pool.Away, h.Pool.Down = false, false })
	h.Check(h.Wait(id), 3)
}
