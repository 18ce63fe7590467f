package engine_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"go.uber.org/zap"

	"github.com/tidegate/tidegate/batch"
	"github.com/tidegate/tidegate/batch/engine"
	"github.com/tidegate/tidegate/batch/queue/memory"
)

// While the store is away leases run out. When it is back, results that were
// held are committed, and nobody runs their lines again.
func TestOutageRepeatsNothing(t *testing.T) {
	const lines = 200
	s := newStreet(t, batch.Config{MaxInFlight: lines, Lease: 1500 * time.Millisecond}, 1)
	busy := s.houses[0]
	gate := make(chan struct{})
	busy.pool.answer = behind(gate)
	id := busy.create(busy.upload(input(lines)))
	until(t, "all lines run", func() bool { return len(s.callsOf()) == lines })
	idle := s.join(t, batch.Config{MaxInFlight: lines, Lease: 1500 * time.Millisecond})

	s.store.away.Store(true)
	until(t, "the leases have run out", func() bool {
		numbers, err := s.store.Store.ClaimableSlices(t.Context(), id, 10)
		return err == nil && len(numbers) == (lines+63)/64
	})
	for _, h := range s.houses {
		until(t, "it is seen that the store is away", func() bool {
			return strings.Contains(fmt.Sprint(h.engine.Health(t.Context()).Paused), "looking for active batches")
		})
	}
	close(gate)
	// The one that waits for work is quicker than the one that has results.
	s.store.slow.Store(true)
	seen := s.store.refreshes.Load()
	s.store.away.Store(false)
	until(t, "both have seen that the store is back", func() bool { return s.store.refreshes.Load() >= seen+4 })
	s.store.slow.Store(false)

	b := idle.wait(id)
	idle.check(b, lines)
	s.wantOnce(t, lines)
	for _, h := range s.houses {
		until(t, "all is well", func() bool { return h.engine.Health(t.Context()).OK() })
	}
}

// A store that says nothing for a while fails nobody: what was asked is answered
// when it is back. Leases have run out by then, and what waited to claim is no
// quicker than what waits to be committed.
func TestSilenceRepeatsNothing(t *testing.T) {
	const lines = 200
	cfg := batch.Config{MaxInFlight: lines, Lease: 1500 * time.Millisecond}
	s := newStreet(t, cfg, 1)
	busy := s.houses[0]
	gate := make(chan struct{})
	busy.pool.answer = behind(gate)
	id := busy.create(busy.upload(input(lines)))
	until(t, "all lines run", func() bool { return len(s.callsOf()) == lines })
	idle := s.join(t, cfg)
	looked := s.store.refreshes.Load()
	until(t, "the other has looked for work", func() bool { return s.store.refreshes.Load() >= looked+4 })

	s.store.silent.Store(true)
	until(t, "the leases have run out", func() bool {
		numbers, err := s.store.Store.ClaimableSlices(t.Context(), id, 10)
		return err == nil && len(numbers) == (lines+63)/64
	})
	close(gate)
	// The one that waits for work is quicker than the one that has results.
	s.store.slow.Store(true)
	looked = s.store.refreshes.Load()
	s.store.silent.Store(false)
	until(t, "both have looked for work", func() bool { return s.store.refreshes.Load() >= looked+4 })
	s.store.slow.Store(false)

	b := idle.wait(id)
	idle.check(b, lines)
	s.wantOnce(t, lines)
}

// A gateway that comes while the store is away claims nothing either, when it is
// back, before those that hold results have committed them.
func TestLatecomerRepeatsNothing(t *testing.T) {
	const lines = 200
	cfg := batch.Config{MaxInFlight: lines, Lease: 1500 * time.Millisecond}
	s := newStreet(t, cfg, 1)
	busy := s.houses[0]
	gate := make(chan struct{})
	busy.pool.answer = behind(gate)
	id := busy.create(busy.upload(input(lines)))
	until(t, "all lines run", func() bool { return len(s.callsOf()) == lines })
	s.store.away.Store(true)
	close(gate)

	late := newHouse(t, cfg)
	store := &sharedStore{hookedStore: hookedStore{Store: s.store.Store, ended: s.store.ended}, known: map[string]batch.Peer{}, bell: make(chan struct{}, 1)}
	store.away.Store(true)
	late.store = &store.hookedStore
	late.engine = engine.NewEngine(cfg, store, memory.New(), s.files, late.pool, zap.NewNop())
	if err := late.engine.Open(t.Context()); !errors.Is(err, batch.ErrUnavailable) {
		t.Fatalf("opened: %v", err)
	}
	until(t, "the leases have run out", func() bool {
		numbers, err := s.store.Store.ClaimableSlices(t.Context(), id, 10)
		return err == nil && len(numbers) == (lines+63)/64
	})
	store.away.Store(false) // it is back for the latecomer first
	if err := late.engine.Open(t.Context()); err != nil {
		t.Fatal(err)
	}
	late.engine.Start()
	t.Cleanup(func() { late.close(0) })
	s.houses = append(s.houses, late)
	until(t, "it has looked for work", func() bool { return store.refreshes.Load() >= 2 })
	s.store.away.Store(false)
	late.check(late.wait(id), lines)
	s.wantOnce(t, lines)
}
