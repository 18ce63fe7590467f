package engine

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"time"

	"go.uber.org/zap"

	"github.com/tidegate/tidegate/batch"
	"github.com/tidegate/tidegate/internal/wait"
)

// workerPoll is the interval at which a worker searches for batches without being woken.
const workerPoll = time.Second

// workerCount returns how many batches are validated or finalized at a time, on half the
// processors. Each worker prefers one of the two tasks, so that new batches do not wait
// until all ended ones are written, nor the other way round.
func workerCount() int { return min(max(runtime.GOMAXPROCS(0)/2, 2), 8) }

// worker validates and finalizes batches.
type worker struct {
	*parts
	validator *validator
	finalizer *finalizer
}

// runWorker validates and finalizes batches, one at a time, until ctx ends.
func (w *worker) runWorker(ctx context.Context, task batch.Task) {
	poll := time.NewTicker(workerPoll)
	defer poll.Stop()
	for {
		for w.workOnce(ctx, task) {
		}
		select {
		case <-ctx.Done():
			return
		case <-w.workerBell:
		case <-poll.C:
		}
	}
}

// workOnce handles one batch and reports whether to look for another at once.
func (w *worker) workOnce(ctx context.Context, task batch.Task) bool {
	if !w.Role().Works() {
		return false
	}
	bounded, cancel := w.bounded(ctx)
	c, err := w.store.ClaimBatch(bounded, w.owner, w.config().Lease, task)
	cancel()
	if errors.Is(err, batch.ErrNotFound) {
		w.health.Note("taking batches", nil)
		return false
	}
	w.health.Note("taking batches", err)
	if err != nil {
		return false
	}
	w.wakeWorkers() // there may be more for the others
	err = w.withLease(ctx, c, w.processBatch)
	if errors.Is(err, batch.ErrStale) {
		w.log.Info("batch taken by another instance, or cancelled, meanwhile", zap.String("batch_id", c.Batch.ID))
		return true
	}
	w.health.NoteBatch(c.Batch.ID, c.Batch.Tenant, err)
	if err != nil {
		w.postpone(ctx, c)
	}
	return ctx.Err() == nil
}

// postponement is the pause of a batch after an error, so that workers handle other
// batches.
const postponement = 3 * time.Second

// postpone releases a claim: after postponement, or at once if the engine stops.
func (w *worker) postpone(ctx context.Context, c batch.BatchClaim) {
	bounded, cancel := w.bounded(context.WithoutCancel(ctx))
	defer cancel()
	giveBack := func() error { return w.store.RenewBatch(bounded, c, postponement) }
	if ctx.Err() != nil {
		giveBack = func() error { return w.store.ReleaseBatch(bounded, c) }
	}
	err := giveBack()
	if errors.Is(err, batch.ErrStale) { // it has ended or another gateway has it: the error no longer applies
		w.health.NoteBatch(c.Batch.ID, c.Batch.Tenant, nil)
		return
	}
	if err != nil {
		w.log.Warn("releasing a batch failed; it is claimed again when its lease ends", zap.String("batch_id", c.Batch.ID), zap.Error(err))
	}
}

func (w *worker) processBatch(ctx context.Context, c batch.BatchClaim) error {
	start := time.Now()
	var err error
	if c.Batch.Status == batch.Validating {
		err = w.validator.validate(ctx, c)
	} else {
		err = w.finalizer.finalize(ctx, c)
	}
	if err != nil {
		return err
	}
	b, err := w.store.Batch(ctx, c.Batch.Tenant, c.Batch.ID)
	if errors.Is(err, batch.ErrNotFound) { // deleted already
		w.noteQueue(w.queue.Drop(ctx, c.Batch.ID))
		return nil
	}
	if err != nil {
		return fmt.Errorf("reading batch: %w", err)
	}
	w.log.Info("batch state changed", zap.String("batch_id", b.ID), zap.String("state", string(b.Status)), zap.Int64("total", b.Counts.Total), zap.Int64("completed", b.Counts.Completed),
		zap.Int64("failed", b.Counts.Failed), zap.Duration("duration", time.Since(start)))
	if b.Status.Terminal() {
		w.noteQueue(w.queue.Drop(ctx, b.ID)) // its remaining references are of no use
	}
	return nil
}

// withLease runs f while the claim is renewed; f's context ends when the claim
// is lost.
func (w *worker) withLease(ctx context.Context, c batch.BatchClaim, f func(context.Context, batch.BatchClaim) error) error {
	ctx, lose := context.WithCancelCause(ctx)
	defer lose(nil)
	renewing := make(chan struct{})
	stop, stopRenewing := context.WithCancel(ctx)
	go func() {
		defer close(renewing)
		for wait.Sleep(stop, w.config().LeaseRenew) {
			bounded, cancel := w.bounded(stop)
			err := w.store.RenewBatch(bounded, c, w.config().Lease)
			cancel()
			if errors.Is(err, batch.ErrStale) {
				lose(batch.ErrStale)
				return
			}
			// Any other error passes or the claim runs out, and then writes
			// are refused.
		}
	}()
	err := f(ctx, c)
	stopRenewing()
	<-renewing
	if err != nil && errors.Is(context.Cause(ctx), batch.ErrStale) {
		return batch.ErrStale
	}
	return err
}
