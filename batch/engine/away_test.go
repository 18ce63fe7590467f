package engine_test

import (
	"strings"
	"testing"

	"github.com/tidegate/tidegate/batch"
)

// Lines that wait for servers which may be stopped are not held up; those that wait
// for servers which are down are.
func TestWaitingForStoppedServersIsNotHeldUp(t *testing.T) {
	h := newHouse(t, batch.Config{})
	h.pool.set(func() { h.pool.down = true })
	h.open()
	id := h.create(h.upload(input(3)))
	held := func() string { return strings.Join(h.engine.Health(t.Context()).Paused, "; ") }
	until(t, "work is held up by the model", func() bool { return strings.Contains(held(), "down") })
	h.pool.set(func() { h.pool.away = true })
	until(t, "nothing is held up", func() bool { return held() == "" })
	if b := h.get(id); b.Status != batch.InProgress || b.Counts.Completed > 0 {
		t.Errorf("batch is %s with %d lines done, want one that waits", b.Status, b.Counts.Completed)
	}
	h.pool.set(func() { h.pool.away, h.pool.down = false, false })
	h.check(h.wait(id), 3)
}
