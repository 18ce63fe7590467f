package batch

import (
	"context"

	"go.uber.org/zap"
)

// The priorities that clients can give.
const (
	MinPriority = -100
	MaxPriority = 100
)

// ControlStore changes how a batch is worked on. Its methods give ErrNotFound
// as BatchStore's do, and ErrConflict with the batch when that is neither
// Validating nor InProgress.
type ControlStore interface {
	// PauseBatch sets PausedAt and PauseReason: no slice of the batch can be claimed, claims
	// that are held stay good. Its time goes on running out. A batch that is
	// paused is returned as it is.
	PauseBatch(ctx context.Context, tenant, id, reason string) (Batch, error)
	// ResumeBatch ends the pause of a batch, if it has one, and its reason.
	ResumeBatch(ctx context.Context, tenant, id string) (Batch, error)
	// PrioritizeBatch sets the priority of a batch.
	PrioritizeBatch(ctx context.Context, tenant, id string, priority int) (Batch, error)
	// BatchOfKey gives the batch that an idempotency key made, ErrKeyReused
	// when it came with another hash, ErrNotFound when it was not used.
	BatchOfKey(ctx context.Context, tenant, key, hash string) (Batch, error)
}

// Controllable tells whether a batch in this state can be paused, resumed and
// given a priority.
func (s Status) Controllable() bool { return s == Validating || s == InProgress }

// PauseBatch begins no more lines of a batch. What runs finishes and is kept;
// slices of which nothing runs are handed back. Other gateways follow as soon
// as they hear of it, within refreshInterval at the latest.
func (e *Engine) PauseBatch(ctx context.Context, tenant, id string) (Batch, error) {
	b, err := e.store.PauseBatch(ctx, tenant, id, "")
	if err != nil {
		return b, err
	}
	e.log.Info("batch paused", zapBatch(id))
	e.runner.pause(b)
	e.notify()
	return b, nil
}

// ResumeBatch goes on with a paused batch.
func (e *Engine) ResumeBatch(ctx context.Context, tenant, id string) (Batch, error) {
	b, err := e.store.ResumeBatch(ctx, tenant, id)
	if err != nil {
		return b, err
	}
	e.log.Info("batch resumed", zapBatch(id))
	e.runner.refreshAnew()
	e.notify()
	return b, nil
}

// PrioritizeBatch sets the priority of a batch, from MinPriority to
// MaxPriority. Lines of batches with a larger one start first.
func (e *Engine) PrioritizeBatch(ctx context.Context, tenant, id string, priority int) (Batch, error) {
	b, err := e.store.PrioritizeBatch(ctx, tenant, id, priority)
	if err != nil {
		return b, err
	}
	e.log.Info("priority of batch changed", zapBatch(id), zap.Int("priority", priority))
	e.runner.refreshAnew()
	e.notify()
	return b, nil
}
