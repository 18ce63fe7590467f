package engine

import (
	"context"
	"errors"
	"fmt"

	"go.uber.org/zap"

	"github.com/tidegate/tidegate/batch"
	"github.com/tidegate/tidegate/internal/wait"
)

// cleanChunk bounds the work of one statement of the collector.
const cleanChunk = 500

// runExpirer watches deadlines of batches.
func (e *Engine) runExpirer(ctx context.Context) {
	for wait.Sleep(ctx, e.config().ExpireInterval) {
		bounded, cancel := e.bounded(ctx)
		ids, err := e.store.ExpireBatches(bounded, cleanChunk)
		cancel()
		e.health.noteHousekeeping("watching deadlines", err)
		e.metrics.expired.Add(int64(len(ids)))
		for _, id := range ids {
			e.log.Info("batch reached its deadline", zap.String("batch_id", id))
			e.scheduler.Abandon(id)
		}
		if len(ids) > 0 {
			e.notify()
		}
	}
}

// runCleaner removes the work of finished batches, files that were deleted or have
// expired, and uploads that were never completed.
func (e *Engine) runCleaner(ctx context.Context) {
	for {
		err := e.clean(ctx)
		e.health.noteHousekeeping("collecting what expired", err)
		if !wait.Sleep(ctx, e.config().CollectInterval) {
			return
		}
	}
}

// clean does one round. A step that fails keeps none of the others from
// theirs.
func (e *Engine) clean(ctx context.Context) error {
	var errs []error
	for _, step := range []struct {
		name string
		do   func(context.Context, int) (int, error)
	}{
		{"expiring uploads", e.statement(e.store.ExpireUploads)},
		{"dropping finished work", e.statement(e.store.DropWork)},
		{"deleting contents", e.deleteGarbage},
		{"forgetting deleted objects", e.statement(e.store.Forget)},
		{"pruning history", e.statement(e.store.PruneHistory)},
		{"pruning webhooks", e.statement(e.store.PruneWebhooks)},
		{"pruning audit log", e.statement(func(ctx context.Context, limit int) (int, error) {
			return e.store.PruneAudit(ctx, batch.AuditKept, limit)
		})},
	} {
		for {
			n, err := step.do(ctx, cleanChunk)
			if err != nil {
				errs = append(errs, fmt.Errorf("%s: %w", step.name, err))
			}
			if err != nil || n == 0 {
				break
			}
		}
		if ctx.Err() != nil {
			break
		}
	}
	return errors.Join(errs...)
}

// statement bounds a step that is one statement.
func (e *Engine) statement(do func(context.Context, int) (int, error)) func(context.Context, int) (int, error) {
	return func(ctx context.Context, limit int) (int, error) {
		bounded, cancel := e.bounded(ctx)
		defer cancel()
		return do(bounded, limit)
	}
}

// deleteGarbage deletes a chunk of contents that nothing needs. Each deletion has
// its own time: all of them together may take any. What was deleted before
// something failed is not listed again.
func (e *Engine) deleteGarbage(ctx context.Context, limit int) (int, error) {
	bounded, cancel := e.bounded(ctx)
	keys, err := e.store.Garbage(bounded, limit)
	cancel()
	if err != nil {
		return 0, err
	}
	deleted, err := e.deleteContents(ctx, keys)
	if len(deleted) == 0 {
		return 0, err
	}
	bounded, cancel = e.bounded(ctx)
	defer cancel()
	return len(deleted), errors.Join(err, e.store.Collected(bounded, deleted))
}

// deleteContents returns the keys of the contents that were deleted. After a content that
// cannot be deleted it continues with the others. It stops when the file storage is
// unavailable or does not answer in time. The error is that of the first failure.
func (k *contentCheck) deleteContents(ctx context.Context, keys []string) (deleted []string, failed error) {
	for _, key := range keys {
		bounded, cancel := k.bounded(ctx)
		err := k.files.Delete(bounded, key)
		silent := bounded.Err() != nil || errors.Is(err, batch.ErrUnavailable)
		cancel()
		if err == nil {
			deleted = append(deleted, key)
			continue
		}
		if failed == nil {
			failed = err
		}
		if silent {
			break
		}
	}
	return deleted, failed
}
