package engine_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/tidegate/tidegate/batch"
	"github.com/tidegate/tidegate/batch/batchtest"
)

// newBusyCluster starts an engine that has all lines of a batch in flight, under short
// leases. They are answered when gate is closed.
func newBusyCluster(t *testing.T, lines int) (c *batchtest.Cluster, cfg batch.Config, id string, gate chan struct{}) {
	t.Helper()
	cfg = batch.Config{MaxInFlight: lines, Lease: 1500 * time.Millisecond}
	c, gate = batchtest.NewCluster(t, cfg, 1), make(chan struct{})
	busy := c.Members[0]
	busy.Pool.Answer = batchtest.Behind(gate)
	id = busy.Create(busy.Upload(batchtest.Input(lines)))
	batchtest.Until(t, "all lines are in flight", func() bool { return len(c.Calls()) == lines })
	return c, cfg, id, gate
}

// Leases expire while the store is unavailable. When it is available again, results that
// were held are committed, and no gateway runs their lines again.
func TestOutageRepeatsNothing(t *testing.T) {
	t.Parallel()
	const lines = 200
	s, cfg, id, gate := newBusyCluster(t, lines)
	idle := s.Join(cfg)

	s.Store.Away.Store(true)
	s.WaitLapsed(id, (lines+63)/64)
	for _, h := range s.Members {
		batchtest.Until(t, "it is seen that the store is away", func() bool {
			return strings.Contains(fmt.Sprint(h.Engine.Health(t.Context()).Paused), "looking for active batches")
		})
	}
	close(gate)
	// The one that waits for work is quicker than the one that has results.
	s.Store.Slow.Store(true)
	s.Store.Away.Store(false)
	s.WaitLooked()
	s.Store.Slow.Store(false)

	b := idle.Wait(id)
	idle.Check(b, lines)
	s.WantOnce(lines)
	for _, h := range s.Members {
		batchtest.Until(t, "every gateway is healthy", func() bool { return h.Engine.Health(t.Context()).OK() })
	}
}

// A store that does not answer for a while fails no call: calls are answered when it is
// back. Leases have expired by then, and a waiting claim does not take a slice before its
// waiting results are committed.
func TestSilenceRepeatsNothing(t *testing.T) {
	t.Parallel()
	const lines = 200
	s, cfg, id, gate := newBusyCluster(t, lines)
	idle := s.Join(cfg)
	s.WaitLooked()

	s.Store.Silent.Store(true)
	s.WaitLapsed(id, (lines+63)/64)
	close(gate)
	// The one that waits for work is quicker than the one that has results.
	s.Store.Slow.Store(true)
	s.Store.Silent.Store(false)
	s.WaitLooked()
	s.Store.Slow.Store(false)

	b := idle.Wait(id)
	idle.Check(b, lines)
	s.WantOnce(lines)
}

// A gateway that comes while the store is away claims nothing either, when it is
// back, before those that hold results have committed them.
func TestLatecomerRepeatsNothing(t *testing.T) {
	t.Parallel()
	const lines = 200
	s, cfg, id, gate := newBusyCluster(t, lines)
	s.Store.Away.Store(true)
	close(gate)
	batchtest.Until(t, "results wait for the store", func() bool {
		return strings.Contains(fmt.Sprint(s.Members[0].Engine.Health(t.Context()).Paused), "committing results")
	})

	late := batchtest.New(t, cfg)
	store := batchtest.NewSharedStore(&batchtest.HookedStore{Store: s.Store.Store, Ended: s.Store.Ended})
	store.Away.Store(true)
	late.Store = store.HookedStore
	late.Engine = batchtest.NewEngine(cfg, store, s.Files, late.Pool)
	if err := late.Engine.Open(t.Context()); !errors.Is(err, batch.ErrUnavailable) {
		t.Fatalf("opened: %v", err)
	}
	s.WaitLapsed(id, (lines+63)/64)
	store.Away.Store(false) // it is back for the latecomer first
	if err := late.Engine.Open(t.Context()); err != nil {
		t.Fatal(err)
	}
	late.Engine.Start()
	t.Cleanup(func() { late.Close(0) })
	s.Members = append(s.Members, late)
	batchtest.Until(t, "it has looked for work", func() bool { return store.Refreshes.Load() >= 2 })
	s.Store.Away.Store(false)
	late.Check(late.Wait(id), lines)
	s.WantOnce(lines)
}
