package postgres

import (
	"context"

	"github.com/tidegate/tidegate/batch"
	"github.com/tidegate/tidegate/batch/store"
)

var (
	pauseBatch      = declare(`UPDATE batches SET paused_at = $1, pause_reason = $2 WHERE id = $3 RETURNING ` + store.BatchColumns)
	resumeBatch     = declare(`UPDATE batches SET paused_at = NULL, pause_reason = '' WHERE id = $1 RETURNING ` + store.BatchColumns)
	prioritizeBatch = declare(`UPDATE batches SET priority = $1 WHERE id = $2 RETURNING ` + store.BatchColumns)
)

// control changes a batch that is Validating or InProgress and notifies the other
// gateways. change is not called for batches in other states, or if same reports
// that the batch already has the wanted value. A change is audited as action, with a detail.
func (s *Store) control(ctx context.Context, doing, tenant, id string, action batch.AuditAction, detail string, same func(batch.Batch) bool, change func(*tx) (batch.Batch, error)) (b batch.Batch, err error) {
	err = s.write(ctx, doing, func(t *tx) error {
		b, err = one(ctx, t, store.ScanBatch, lockBatch, id, tenant)
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
		t.later(notify)
		t.audit(ctx, action, id, tenant, detail)
		return nil
	})
	return b, err
}

// PauseBatch pauses a batch.
func (s *Store) PauseBatch(ctx context.Context, tenant, id, reason string) (batch.Batch, error) {
	return s.control(ctx, "pausing batch", tenant, id, batch.AuditBatchPause, reason,
		func(b batch.Batch) bool { return !b.PausedAt.IsZero() },
		func(t *tx) (batch.Batch, error) {
			return one(ctx, t, store.ScanBatch, pauseBatch, t.micros(), reason, id)
		})
}

// ResumeBatch ends the pause of a batch.
func (s *Store) ResumeBatch(ctx context.Context, tenant, id string) (batch.Batch, error) {
	return s.control(ctx, "resuming batch", tenant, id, batch.AuditBatchResume, "",
		func(b batch.Batch) bool { return b.PausedAt.IsZero() },
		func(t *tx) (batch.Batch, error) { return one(ctx, t, store.ScanBatch, resumeBatch, id) })
}

// PrioritizeBatch sets the priority of a batch.
func (s *Store) PrioritizeBatch(ctx context.Context, tenant, id string, priority int) (batch.Batch, error) {
	return s.control(ctx, "prioritizing batch", tenant, id, batch.AuditBatchPriority, store.PriorityDetail(priority),
		func(b batch.Batch) bool { return b.Priority == priority },
		func(t *tx) (batch.Batch, error) { return one(ctx, t, store.ScanBatch, prioritizeBatch, priority, id) })
}

// BatchOfKey returns the batch that an idempotency key made.
func (s *Store) BatchOfKey(ctx context.Context, tenant, key, hash string) (batch.Batch, error) {
	var b store.KeyedBatch
	err := s.read(ctx, "looking up idempotency key", func(t *tx) (err error) {
		b, err = one(ctx, t, store.ScanKeyedBatch, selectRepeated, tenant, key)
		if err == nil && b.RequestHash != hash {
			b, err = store.KeyedBatch{}, batch.ErrKeyReused
		}
		return err
	})
	return b.Batch, err
}
