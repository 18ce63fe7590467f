package engine_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/zap"

	"github.com/tidegate/tidegate/batch"
	"github.com/tidegate/tidegate/batch/engine"
	"github.com/tidegate/tidegate/batch/files/local"
	"github.com/tidegate/tidegate/batch/queue/memory"
	"github.com/tidegate/tidegate/batch/store/sqlite"
)

// street is several engines in one process that share a store and files, as
// gateways share a Postgres. Each has a queue and a pool of its own.
type street struct {
	store  *sharedStore
	files  sharedFiles
	houses []*house
}

func newStreet(t *testing.T, cfg batch.Config, n int) *street {
	t.Helper()
	dir := t.TempDir()
	embedded := sqlite.New(sqlite.Config{Path: dir + "/tidegate.db"})
	contents := local.New(local.Config{Dir: dir + "/files"})
	if err := errors.Join(embedded.Open(t.Context()), contents.Open(t.Context())); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := errors.Join(embedded.Close(), contents.Close()); err != nil {
			t.Error(err)
		}
	})
	s := &street{store: &sharedStore{hookedStore: hookedStore{Store: embedded, ended: make(chan string, 1000)}, known: map[string]batch.Peer{}, bell: make(chan struct{}, 1)}}
	s.files = sharedFiles{contents, dir}
	for range n {
		s.join(t, cfg)
	}
	return s
}

// join has another engine work.
func (s *street) join(t *testing.T, cfg batch.Config) *house {
	t.Helper()
	h := newHouse(t, cfg)
	h.store, h.door = &s.store.hookedStore, &door{sharedStore: s.store}
	queue := memory.New()
	h.queue = func() batch.Queue { return queue }
	h.engine = engine.NewEngine(h.cfg, h.door, queue, s.files, h.pool, zap.NewNop())
	if err := h.engine.Open(t.Context()); err != nil {
		t.Fatal(err)
	}
	h.engine.Start()
	t.Cleanup(func() {
		if h.engine != nil {
			h.close(0)
		}
	})
	s.houses = append(s.houses, h)
	return h
}

// door is how one engine comes to a shared store.
type door struct {
	*sharedStore
	looks atomic.Int64 // for active batches, that were answered
}

func (d *door) ActiveBatches(ctx context.Context, limit int) ([]batch.Batch, error) {
	batches, err := d.sharedStore.ActiveBatches(ctx, limit)
	if err == nil {
		d.looks.Add(1)
	}
	return batches, err
}

// looked waits until every engine has looked at the store since, and has acted
// on what it saw: one look may have begun before, and the one after the next
// begins when that is done.
func (s *street) looked(t *testing.T) {
	t.Helper()
	for _, h := range s.houses {
		seen := h.door.looks.Load()
		until(t, "it has looked again", func() bool { return h.door.looks.Load() >= seen+3 })
	}
}

// sharedStore is a store that several engines use, that can be away, and that
// knows who is there.
type sharedStore struct {
	hookedStore
	away      atomic.Bool
	slow      atomic.Bool // takes no results and renews nothing
	silent    atomic.Bool // says nothing until it is not any more
	refreshes atomic.Int64
	bell      chan struct{}

	mu    sync.Mutex
	known map[string]batch.Peer // guarded by mu
}

func (s *sharedStore) Open(ctx context.Context) error { return s.there(ctx) }
func (s *sharedStore) Close() error                   { return nil }

func (s *sharedStore) Capabilities() batch.StoreCapabilities {
	return batch.StoreCapabilities{Membership: s, Changes: s}
}

func (s *sharedStore) Announce(ctx context.Context, a batch.Peer, _ time.Duration) (others []batch.Peer, err error) {
	if err := s.there(ctx); err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.known[a.ID] = a
	for id, o := range s.known {
		if id != a.ID {
			others = append(others, o)
		}
	}
	return others, nil
}

func (s *sharedStore) Withdraw(ctx context.Context, id string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.known, id)
	return s.there(ctx)
}

func (s *sharedStore) Wake() <-chan struct{} { return s.bell }

func (s *sharedStore) there(ctx context.Context) error {
	if s.away.Load() {
		return fmt.Errorf("connecting: %w", batch.ErrUnavailable)
	}
	return waitWhile(ctx, &s.silent)
}

// quick waits while the store is slow.
func (s *sharedStore) quick(ctx context.Context) error { return waitWhile(ctx, &s.slow) }

func waitWhile(ctx context.Context, it *atomic.Bool) error {
	for it.Load() {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(time.Millisecond):
		}
	}
	return nil
}

func (s *sharedStore) ActiveBatches(ctx context.Context, limit int) ([]batch.Batch, error) {
	if err := s.there(ctx); err != nil {
		return nil, err
	}
	defer s.refreshes.Add(1)
	return s.hookedStore.ActiveBatches(ctx, limit)
}

func (s *sharedStore) LapsedSlices(ctx context.Context, id string, limit int) ([]int, error) {
	if err := s.there(ctx); err != nil {
		return nil, err
	}
	return s.hookedStore.LapsedSlices(ctx, id, limit)
}

func (s *sharedStore) ClaimableSlices(ctx context.Context, id string, limit int) ([]int, error) {
	if err := s.there(ctx); err != nil {
		return nil, err
	}
	return s.hookedStore.ClaimableSlices(ctx, id, limit)
}

func (s *sharedStore) ClaimSlices(ctx context.Context, by batch.Claimant, refs []batch.SliceRef) ([]batch.Slice, error) {
	if err := s.there(ctx); err != nil {
		return nil, err
	}
	return s.hookedStore.ClaimSlices(ctx, by, refs)
}

func (s *sharedStore) RenewSlices(ctx context.Context, claims []batch.SliceClaim, lease time.Duration) ([]batch.SliceClaim, error) {
	if err := s.there(ctx); err != nil {
		return nil, err
	}
	if err := s.quick(ctx); err != nil {
		return nil, err
	}
	return s.hookedStore.RenewSlices(ctx, claims, lease)
}

func (s *sharedStore) CommitResults(ctx context.Context, writes []batch.SegmentWrite) ([]batch.SliceClaim, error) {
	if err := s.there(ctx); err != nil {
		return nil, err
	}
	if err := s.quick(ctx); err != nil {
		return nil, err
	}
	return s.hookedStore.CommitResults(ctx, writes)
}

func (s *sharedStore) ClaimBatch(ctx context.Context, owner string, lease time.Duration, task batch.Task) (batch.BatchClaim, error) {
	if err := s.there(ctx); err != nil {
		return batch.BatchClaim{}, err
	}
	return s.hookedStore.ClaimBatch(ctx, owner, lease, task)
}

// sharedFiles are files that several engines use.
type sharedFiles struct {
	batch.Files
	place string
}

func (sharedFiles) Open(context.Context) error              { return nil }
func (sharedFiles) Close() error                            { return nil }
func (f sharedFiles) Place(context.Context) (string, error) { return f.place, nil }

func (f sharedFiles) Capabilities() batch.FilesCapabilities { return batch.FilesCapabilities{Place: f} }

// until polls for what other goroutines have a part in.
func until(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(patience); !ok(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("never happened: %s", what)
		}
	}
}

// callsOf are the calls that all pools got, by custom id.
func (s *street) callsOf() map[string]int {
	sum := make(map[string]int)
	for _, h := range s.houses {
		h.pool.mu.Lock()
		for id, n := range h.pool.calls {
			sum[id] += n
		}
		h.pool.mu.Unlock()
	}
	return sum
}

func (s *street) wantOnce(t *testing.T, n int) {
	t.Helper()
	calls := s.callsOf()
	if len(calls) != n {
		t.Errorf("%d lines were sent, want %d", len(calls), n)
	}
	for id, n := range calls {
		if n != 1 {
			t.Errorf("%s was sent %d times", id, n)
		}
	}
}

// behind answers when the gate is open.
func behind(gate <-chan struct{}) func(context.Context, string, int) (batch.Answer, error) {
	return func(ctx context.Context, id string, _ int) (batch.Answer, error) {
		select {
		case <-gate:
			return ok(id), nil
		case <-ctx.Done():
			return batch.Answer{}, ctx.Err()
		}
	}
}
