package batchtest

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"

	"github.com/tidegate/tidegate/batch"
	"github.com/tidegate/tidegate/batch/files/local"
	"github.com/tidegate/tidegate/batch/queue/memory"
	"github.com/tidegate/tidegate/batch/store/sqlite"
)

// Cluster is several engines in one process that share a store and files, as gateways
// share PostgreSQL. Each has its own queue and pool.
type Cluster struct {
	T       testing.TB
	Store   *SharedStore
	Files   SharedFiles
	Members []*Harness
}

// NewCluster starts n engines.
func NewCluster(t testing.TB, cfg batch.Config, n int) *Cluster {
	t.Helper()
	dir := t.TempDir()
	store := sqlite.New(sqlite.Config{Path: dir + "/tidegate.db"})
	contents := local.New(local.Config{Dir: dir + "/files"})
	if err := errors.Join(store.Open(t.Context()), contents.Open(t.Context())); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := errors.Join(store.Close(), contents.Close()); err != nil {
			t.Error(err)
		}
	})
	c := &Cluster{T: t, Store: NewSharedStore(NewHookedStore(store)), Files: SharedFiles{contents, dir}}
	for range n {
		c.Join(cfg)
	}
	return c
}

// Join starts another engine.
func (c *Cluster) Join(cfg batch.Config) *Harness {
	c.T.Helper()
	h := New(c.T, cfg)
	h.Store, h.Session = c.Store.HookedStore, &Session{SharedStore: c.Store}
	queue := memory.New()
	h.NewQueue = func() batch.Queue { return queue }
	h.start(h.Session, queue, c.Files)
	c.Members = append(c.Members, h)
	return h
}

// Session is the access of one engine to a shared store.
type Session struct {
	*SharedStore
	Looks atomic.Int64 // successful calls of ActiveBatches
}

// ActiveBatches implements batch.WorkStore.
func (s *Session) ActiveBatches(ctx context.Context, limit int) ([]batch.Batch, error) {
	batches, err := s.SharedStore.ActiveBatches(ctx, limit)
	if err == nil {
		s.Looks.Add(1)
	}
	return batches, err
}

// WaitLooked waits until every engine has read the active batches and acted on them. The
// first read may have begun before the call. The one after the next begins when the next
// is acted on.
func (c *Cluster) WaitLooked() {
	c.T.Helper()
	for _, h := range c.Members {
		seen := h.Session.Looks.Load()
		Until(c.T, "it has read the active batches again", func() bool { return h.Session.Looks.Load() >= seen+3 })
	}
}

// WaitLapsed waits until n slices of a batch are claimable, up to 10: the leases of its
// engine have ended.
func (c *Cluster) WaitLapsed(id string, n int) {
	c.T.Helper()
	Until(c.T, "the leases have ended", func() bool {
		numbers, err := c.Store.Store.ClaimableSlices(c.T.Context(), id, 10)
		return err == nil && len(numbers) >= n
	})
}

// Calls returns the numbers of calls to all pools, by custom_id.
func (c *Cluster) Calls() map[string]int {
	sum := make(map[string]int)
	for _, h := range c.Members {
		h.Pool.Lock()
		for id, n := range h.Pool.Calls {
			sum[id] += n
		}
		h.Pool.Unlock()
	}
	return sum
}

// WantOnce asserts that n lines were sent, each once.
func (c *Cluster) WantOnce(n int) {
	c.T.Helper()
	calls := c.Calls()
	if len(calls) != n {
		c.T.Errorf("got %d lines sent, want %d", len(calls), n)
	}
	for id, n := range calls {
		if n != 1 {
			c.T.Errorf("%s: got %d calls, want 1", id, n)
		}
	}
}
