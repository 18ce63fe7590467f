package engine

import (
	"context"

	"go.uber.org/zap"

	"github.com/tidegate/tidegate/batch"
)

// PauseBatch starts no more lines of a batch. Lines in flight finish and their results are
// kept; slices without lines in flight are released. Other gateways follow when they are
// notified, at the latest after refreshInterval.
func (e *Engine) PauseBatch(ctx context.Context, tenant, id string) (batch.Batch, error) {
	b, err := e.store.PauseBatch(ctx, tenant, id, "")
	if err != nil {
		return b, err
	}
	e.log.Info("batch paused", zap.String("batch_id", id))
	e.scheduler.Pause(b)
	e.notify()
	return b, nil
}

// ResumeBatch continues a paused batch.
func (e *Engine) ResumeBatch(ctx context.Context, tenant, id string) (batch.Batch, error) {
	b, err := e.store.ResumeBatch(ctx, tenant, id)
	if err != nil {
		return b, err
	}
	e.log.Info("batch resumed", zap.String("batch_id", id))
	e.scheduler.Invalidate()
	e.notify()
	return b, nil
}

// PrioritizeBatch sets the priority of a batch, from MinPriority to
// MaxPriority. Lines of batches with a larger one start first.
func (e *Engine) PrioritizeBatch(ctx context.Context, tenant, id string, priority int) (batch.Batch, error) {
	b, err := e.store.PrioritizeBatch(ctx, tenant, id, priority)
	if err != nil {
		return b, err
	}
	e.log.Info("priority of batch changed", zap.String("batch_id", id), zap.Int("priority", priority))
	e.scheduler.Invalidate()
	e.notify()
	return b, nil
}
