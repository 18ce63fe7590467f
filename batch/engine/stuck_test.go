package engine_test

import (
	"context"
	"net/http"
	"strings"
	"testing"

	"github.com/tidegate/tidegate/batch"
)

// lose has the pool know some models, the servers of which are down.
func (p *fakePool) lose(models ...string) {
	p.set(func() {
		p.gone = make(map[string]bool)
		for _, m := range models {
			p.models[m], p.gone[m] = true, true
		}
	})
}

func (p *fakePool) find() { p.set(func() { p.gone = nil }) }

// Batches whose model has no server keep none of another model waiting, however
// many they are.
func TestBatchesWithoutServerHoldNobodyUp(t *testing.T) {
	h := newHouse(t, batch.Config{MaxInFlight: 8, MaxConcurrentBatches: 2})
	h.pool.lose("gone")
	h.open()
	var stuck []string
	for _, lines := range []int{200, 10, 3000} {
		stuck = append(stuck, h.create(h.upload(inputFor(lines, "gone"))))
	}
	for _, id := range stuck {
		until(t, "it is in progress", func() bool { return h.get(id).Status == batch.InProgress })
	}
	h.check(h.wait(h.create(h.upload(input(300)))), 300)
	if health := h.engine.Health(t.Context()); len(health.Paused) == 0 {
		t.Error("health does not say that a model has no server")
	}
	h.pool.find()
	for i, lines := range []int{200, 10, 3000} {
		h.check(h.wait(stuck[i]), lines)
	}
	if health := h.engine.Health(t.Context()); !health.OK() {
		t.Errorf("%+v", health)
	}
}

// Nor do those whose model has servers that live requests fill.
func TestBatchesWithoutSlotHoldNobodyUp(t *testing.T) {
	h := newHouse(t, batch.Config{MaxInFlight: 8, MaxConcurrentBatches: 2})
	h.pool.lose()
	h.pool.set(func() { h.pool.models["full"], h.pool.busy = true, map[string]bool{"full": true} })
	h.open()
	stuck := []string{h.create(h.upload(inputFor(200, "full"))), h.create(h.upload(inputFor(200, "full")))}
	for _, id := range stuck {
		until(t, "it is in progress", func() bool { return h.get(id).Status == batch.InProgress })
	}
	h.check(h.wait(h.create(h.upload(input(300)))), 300)
	h.pool.set(func() { h.pool.busy = nil })
	for _, id := range stuck {
		h.check(h.wait(id), 200)
	}
}

// Lines of a model that has a server do not wait behind those of one that has
// none, in the same batch.
func TestLinesWithoutServerHoldNoOthersUp(t *testing.T) {
	h := newHouse(t, batch.Config{MaxInFlight: 8})
	h.pool.lose("gone")
	h.open()
	id := h.create(h.upload(inputFor(128, "gone") + inputFrom(128, 64)))
	h.waitCounted(id, 64)
	h.pool.find()
	h.check(h.wait(id), 192)
	if r := h.pool.repeated(); r != 0 {
		t.Errorf("%d calls repeated", r)
	}
}

// A gateway that reaches no server of a model leaves its lines to those that do.
func TestOthersRunWhatOneCannot(t *testing.T) {
	s := newStreet(t, batch.Config{MaxInFlight: 64}, 2)
	blind, seeing := s.houses[0], s.houses[1]
	blind.pool.lose("m")
	seeing.pool.set(func() { seeing.pool.slots = 0 })
	id := blind.create(blind.upload(input(128)))
	until(t, "the gateway without a server has claimed all", func() bool {
		free, err := s.store.Store.ClaimableSlices(t.Context(), id, 10)
		if err != nil {
			t.Fatal(err)
		}
		return blind.get(id).Status == batch.InProgress && len(free) == 0
	})
	seeing.pool.set(func() { seeing.pool.slots = 64 })
	seeing.check(seeing.wait(id), 128)
	s.wantOnce(t, 128)
}

// What was tried is not handed back while its model has no server: that would
// forget which retries it has used up.
func TestTriedLinesAreKept(t *testing.T) {
	h := newHouse(t, batch.Config{MaxInFlight: 8, MaxConcurrentBatches: 1, Retries: 1})
	h.pool.set(func() { h.pool.models["n"] = true })
	h.pool.answer = func(_ context.Context, id string, call int) (batch.Answer, error) {
		if id != customID(0) {
			return ok(id), nil
		}
		if call == 1 {
			h.pool.lose("m")
		}
		return status(http.StatusInternalServerError, `{}`), nil
	}
	h.open()
	id := h.create(h.upload(input(1)))
	until(t, "it was tried", func() bool { return h.pool.callCount() == 1 })
	other := h.create(h.upload(strings.ReplaceAll(inputFrom(1, 10), `"m"`, `"n"`))) // once the first has been stuck for long enough
	h.wait(other)
	h.pool.find()
	if errs := h.check(h.wait(id), 1); len(errs) != 1 {
		t.Errorf("%+v", errs)
	}
	if n := h.pool.repeated(); n != 1 {
		t.Errorf("tried %d times, want 2", n+1)
	}
}
