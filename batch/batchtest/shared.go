package batchtest

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/tidegate/tidegate/batch"
)

// SharedStore is an open store that several engines use at once. Its Open and Close do
// nothing. It can be unavailable, silent or slow.
type SharedStore struct {
	*HookedStore
	Away      atomic.Bool  // calls fail with ErrUnavailable
	Silent    atomic.Bool  // calls wait until it is false
	Slow      atomic.Bool  // CommitResults and RenewSlices wait until it is false
	Refreshes atomic.Int64 // successful calls of ActiveBatches
	Changes   chan struct{}

	mu    sync.Mutex
	peers map[string]batch.Peer // guarded by mu
}

// NewSharedStore shares a store that is open.
func NewSharedStore(s *HookedStore) *SharedStore {
	return &SharedStore{HookedStore: s, peers: make(map[string]batch.Peer), Changes: make(chan struct{}, 1)}
}

// Open implements batch.Store.
func (s *SharedStore) Open(ctx context.Context) error { return s.available(ctx) }

// Close implements batch.Store.
func (s *SharedStore) Close() error { return nil }

// Capabilities implements batch.Store.
func (s *SharedStore) Capabilities() batch.StoreCapabilities {
	return batch.StoreCapabilities{Membership: s, Changes: s}
}

// Announce implements batch.Membership. A peer remains until it is withdrawn.
func (s *SharedStore) Announce(ctx context.Context, self batch.Peer, _ time.Duration) (others []batch.Peer, err error) {
	if err := s.available(ctx); err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.peers[self.ID] = self
	for id, p := range s.peers {
		if id != self.ID {
			others = append(others, p)
		}
	}
	return others, nil
}

// Withdraw implements batch.Membership.
func (s *SharedStore) Withdraw(ctx context.Context, id string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.peers, id)
	return s.available(ctx)
}

// PeerCount returns the number of announced gateways.
func (s *SharedStore) PeerCount() int { s.mu.Lock(); defer s.mu.Unlock(); return len(s.peers) }

// Wake implements batch.Waker.
func (s *SharedStore) Wake() <-chan struct{} { return s.Changes }

func (s *SharedStore) available(ctx context.Context) error {
	if s.Away.Load() {
		return fmt.Errorf("connecting: %w", batch.ErrUnavailable)
	}
	return waitWhile(ctx, &s.Silent)
}

// quick is available for calls that wait while the store is slow.
func (s *SharedStore) quick(ctx context.Context) error {
	if err := s.available(ctx); err != nil {
		return err
	}
	return waitWhile(ctx, &s.Slow)
}

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

// AddUsage implements batch.AnalyticsStore.
func (s *SharedStore) AddUsage(ctx context.Context, records []batch.UsageRecord) error {
	if err := s.available(ctx); err != nil {
		return err
	}
	return s.HookedStore.AddUsage(ctx, records)
}

// KeyUsage implements batch.AnalyticsStore.
func (s *SharedStore) KeyUsage(ctx context.Context, tenant string, q batch.UsageQuery) (batch.UsageReport, error) {
	if err := s.available(ctx); err != nil {
		return batch.UsageReport{}, err
	}
	return s.HookedStore.KeyUsage(ctx, tenant, q)
}

// ActiveBatches implements batch.WorkStore.
func (s *SharedStore) ActiveBatches(ctx context.Context, limit int) ([]batch.Batch, error) {
	if err := s.available(ctx); err != nil {
		return nil, err
	}
	defer s.Refreshes.Add(1)
	return s.HookedStore.ActiveBatches(ctx, limit)
}

// LapsedSlices implements batch.WorkStore.
func (s *SharedStore) LapsedSlices(ctx context.Context, id string, limit int) ([]int, error) {
	if err := s.available(ctx); err != nil {
		return nil, err
	}
	return s.HookedStore.LapsedSlices(ctx, id, limit)
}

// ClaimableSlices implements batch.WorkStore.
func (s *SharedStore) ClaimableSlices(ctx context.Context, id string, limit int) ([]int, error) {
	if err := s.available(ctx); err != nil {
		return nil, err
	}
	return s.HookedStore.ClaimableSlices(ctx, id, limit)
}

// ClaimSlices implements batch.WorkStore.
func (s *SharedStore) ClaimSlices(ctx context.Context, by batch.Claimant, refs []batch.SliceRef) ([]batch.Slice, error) {
	if err := s.available(ctx); err != nil {
		return nil, err
	}
	return s.HookedStore.ClaimSlices(ctx, by, refs)
}

// RenewSlices implements batch.WorkStore.
func (s *SharedStore) RenewSlices(ctx context.Context, claims []batch.SliceClaim, lease time.Duration) ([]batch.SliceClaim, error) {
	if err := s.quick(ctx); err != nil {
		return nil, err
	}
	return s.HookedStore.RenewSlices(ctx, claims, lease)
}

// CommitResults implements batch.WorkStore.
func (s *SharedStore) CommitResults(ctx context.Context, writes []batch.SegmentWrite) ([]batch.SliceClaim, error) {
	if err := s.quick(ctx); err != nil {
		return nil, err
	}
	return s.HookedStore.CommitResults(ctx, writes)
}

// ClaimBatch implements batch.FinishStore.
func (s *SharedStore) ClaimBatch(ctx context.Context, owner string, lease time.Duration, task batch.Task) (batch.BatchClaim, error) {
	if err := s.available(ctx); err != nil {
		return batch.BatchClaim{}, err
	}
	return s.HookedStore.ClaimBatch(ctx, owner, lease, task)
}

// SharedFiles are open files that several engines use at once. Its Open and Close do
// nothing.
type SharedFiles struct {
	batch.Files
	Location string
}

// Open implements batch.Files.
func (SharedFiles) Open(context.Context) error { return nil }

// Close implements batch.Files.
func (SharedFiles) Close() error { return nil }

// Place implements batch.Placed.
func (f SharedFiles) Place(context.Context) (string, error) { return f.Location, nil }

// Capabilities implements batch.Files.
func (f SharedFiles) Capabilities() batch.FilesCapabilities { return batch.FilesCapabilities{Place: f} }
