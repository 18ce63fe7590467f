package sqlite

import (
	"context"

	"github.com/tidegate/tidegate/batch"
	"github.com/tidegate/tidegate/batch/store"
)

var (
	pauseBatch      = writes(`UPDATE batches SET paused_at = ?, pause_reason = ? WHERE id = ? RETURNING ` + store.BatchColumns)
	resumeBatch     = writes(`UPDATE batches SET paused_at = NULL, pause_reason = '' WHERE id = ? RETURNING ` + store.BatchColumns)
	prioritizeBatch = writes(`UPDATE batches SET priority = ? WHERE id = ? RETURNING ` + store.BatchColumns)
)

// control changes a batch that is Validating or InProgress. change is not called
// for batches in other states, or if same reports that the batch already has the
// wanted value. A change is audited as action, with a detail.
func (s *Store) control(ctx context.Context, doing, tenant, id string, action batch.AuditAction, detail string, same func(batch.Batch) bool, change func(*tx) (batch.Batch, error)) (b batch.Batch, err error) {
	err = s.write(ctx, doing, func(t *tx) error {
		b, err = one(ctx, t, selectBatch, store.ScanBatch, id, tenant)
		switch {
		case err != nil:
			return err
		case !b.Status.Controllable():
			return batch.ErrConflict
		case same(b):
			return nil
		}
		if b, err = change(t); err != nil {
			return err
		}
		return t.audit(ctx, action, id, tenant, detail)
	})
	return b, err
}

// PauseBatch pauses a batch.
func (s *Store) PauseBatch(ctx context.Context, tenant, id, reason string) (batch.Batch, error) {
	return s.control(ctx, "pausing batch", tenant, id, batch.AuditBatchPause, reason,
		func(b batch.Batch) bool { return !b.PausedAt.IsZero() },
		func(t *tx) (batch.Batch, error) {
			return one(ctx, t, pauseBatch, store.ScanBatch, store.Micros(t.now), reason, id)
		})
}

// ResumeBatch ends the pause of a batch.
func (s *Store) ResumeBatch(ctx context.Context, tenant, id string) (batch.Batch, error) {
	return s.control(ctx, "resuming batch", tenant, id, batch.AuditBatchResume, "",
		func(b batch.Batch) bool { return b.PausedAt.IsZero() },
		func(t *tx) (batch.Batch, error) { return one(ctx, t, resumeBatch, store.ScanBatch, id) })
}

// PrioritizeBatch sets the priority of a batch.
func (s *Store) PrioritizeBatch(ctx context.Context, tenant, id string, priority int) (batch.Batch, error) {
	return s.control(ctx, "prioritizing batch", tenant, id, batch.AuditBatchPriority, store.PriorityDetail(priority),
		func(b batch.Batch) bool { return b.Priority == priority },
		func(t *tx) (batch.Batch, error) { return one(ctx, t, prioritizeBatch, store.ScanBatch, priority, id) })
}

// BatchOfKey returns the batch that an idempotency key made.
func (s *Store) BatchOfKey(ctx context.Context, tenant, key, hash string) (batch.Batch, error) {
	var b store.KeyedBatch
	err := s.read(ctx, "looking up idempotency key", func(t *tx) (err error) {
		b, err = one(ctx, t, selectRepeated, store.ScanKeyedBatch, tenant, key)
		if err == nil && b.RequestHash != hash {
			b, err = store.KeyedBatch{}, batch.ErrKeyReused
		}
		return err
	})
	return b.Batch, err
}
