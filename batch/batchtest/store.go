package batchtest

import (
	"context"
	"sync/atomic"
	"time"

	"github.com/tidegate/tidegate/batch"
	"github.com/tidegate/tidegate/internal/openai"
)

// HookedStore is a store with hooks for tests. A hook that is nil is not called; one that
// returns an error replaces the call.
type HookedStore struct {
	batch.Store
	// Ended delivers the id of each batch that was finished or failed.
	Ended chan string

	BeforeCommit  atomic.Pointer[func([]batch.SegmentWrite) error] // CommitResults
	BeforeFinish  atomic.Pointer[func(batch.BatchClaim) error]     // FinishBatch
	BeforePause   atomic.Pointer[func() error]                     // PauseBatch
	BeforeResults atomic.Pointer[func()]                           // Results
	// LastMinute replaces the result of Flow.
	LastMinute atomic.Pointer[batch.ModelMinute]

	Claims   atomic.Int64 // successful calls of ClaimBatch
	Renewals atomic.Int64 // successful calls of RenewBatch
	Looks    atomic.Int64 // calls of ActiveBatches
}

// NewHookedStore returns a store without hooks.
func NewHookedStore(s batch.Store) *HookedStore {
	return &HookedStore{Store: s, Ended: make(chan string, 1000)}
}

// Flow implements batch.FlowStore.
func (s *HookedStore) Flow(ctx context.Context, since time.Time, limit int) ([]batch.ModelMinute, error) {
	m := s.LastMinute.Load()
	switch {
	case m == nil:
		return s.Store.Flow(ctx, since, limit)
	case m.At.Before(since):
		return nil, nil
	}
	return []batch.ModelMinute{*m}, nil
}

// ActiveBatches implements batch.WorkStore.
func (s *HookedStore) ActiveBatches(ctx context.Context, limit int) ([]batch.Batch, error) {
	active, err := s.Store.ActiveBatches(ctx, limit)
	s.Looks.Add(1)
	return active, err
}

// Results implements batch.FinishStore.
func (s *HookedStore) Results(ctx context.Context, ref batch.SliceRef) ([]batch.LineResult, error) {
	if hook := s.BeforeResults.Load(); hook != nil {
		(*hook)()
	}
	return s.Store.Results(ctx, ref)
}

// PauseBatch implements batch.ControlStore.
func (s *HookedStore) PauseBatch(ctx context.Context, tenant, id, reason string) (batch.Batch, error) {
	if hook := s.BeforePause.Load(); hook != nil {
		if err := (*hook)(); err != nil {
			return batch.Batch{}, err
		}
	}
	return s.Store.PauseBatch(ctx, tenant, id, reason)
}

// ClaimBatch implements batch.FinishStore.
func (s *HookedStore) ClaimBatch(ctx context.Context, owner string, lease time.Duration, task batch.Task) (batch.BatchClaim, error) {
	c, err := s.Store.ClaimBatch(ctx, owner, lease, task)
	if err == nil {
		s.Claims.Add(1)
	}
	return c, err
}

// RenewBatch implements batch.FinishStore.
func (s *HookedStore) RenewBatch(ctx context.Context, c batch.BatchClaim, lease time.Duration) error {
	err := s.Store.RenewBatch(ctx, c, lease)
	if err == nil {
		s.Renewals.Add(1)
	}
	return err
}

// FinishBatch implements batch.FinishStore.
func (s *HookedStore) FinishBatch(ctx context.Context, c batch.BatchClaim, o batch.Outcome) error {
	if hook := s.BeforeFinish.Load(); hook != nil {
		if err := (*hook)(c); err != nil {
			return err
		}
	}
	err := s.Store.FinishBatch(ctx, c, o)
	s.Ended <- c.Batch.ID
	return err
}

// FailBatch implements batch.FinishStore.
func (s *HookedStore) FailBatch(ctx context.Context, c batch.BatchClaim, f []openai.BatchError) error {
	err := s.Store.FailBatch(ctx, c, f)
	s.Ended <- c.Batch.ID
	return err
}

// CommitResults implements batch.WorkStore.
func (s *HookedStore) CommitResults(ctx context.Context, writes []batch.SegmentWrite) ([]batch.SliceClaim, error) {
	if hook := s.BeforeCommit.Load(); hook != nil {
		if err := (*hook)(writes); err != nil {
			return nil, err
		}
	}
	return s.Store.CommitResults(ctx, writes)
}
