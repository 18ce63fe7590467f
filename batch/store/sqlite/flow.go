package sqlite

import (
	"context"
	"time"

	"github.com/tidegate/tidegate/batch"
	"github.com/tidegate/tidegate/batch/store"
)

var (
	addModelMinute = writes(`INSERT INTO model_minutes (minute, model, lines, first_at, began_at, last_at) VALUES (?, ?, ?, ?, ?, ?)
		ON CONFLICT (minute, model) DO UPDATE SET lines = lines + excluded.lines, first_at = min(first_at, excluded.first_at),
			began_at = max(began_at, excluded.began_at), last_at = max(last_at, excluded.last_at)`)
	flowSince = reads(`SELECT model, minute, lines, first_at, began_at, last_at FROM model_minutes WHERE minute >= ? ORDER BY minute DESC LIMIT ?`)

	addModelDone = writes(`UPDATE batch_models SET done = done + ? WHERE batch = ? AND model = ?`)
	forgetModels = writes(`DELETE FROM batch_models WHERE batch = ?`)
	putModel     = writes(`INSERT INTO batch_models (batch, model, lines) VALUES (?, ?, ?)`)
	// The counts of a waiting batch are dropped like the work of a batch that ran.
	countBatch     = writes(`UPDATE batches SET work = 1 WHERE ` + claimed + ` AND status = 'validating' RETURNING seq`)
	waitingBatches = reads(`SELECT ` + store.BatchColumns + ` FROM batches INDEXED BY batches_validating WHERE status = 'validating' ORDER BY priority DESC, seq LIMIT ?`)
	// Rows exist for batches that have not ended, and until DropWork.
	batchModels = reads(`SELECT b.id, m.model, m.lines, m.done FROM batch_models m CROSS JOIN batches b ON b.seq = m.batch
		WHERE m.batch > 0 AND b.status IN ('validating', 'in_progress') ORDER BY m.batch, m.model LIMIT ?`)
)

// addFlow counts the lines that a commit adds by model.
func (t *tx) addFlow(ctx context.Context, c store.Commit) error {
	for _, f := range c.Flow {
		if _, err := t.exec(ctx, addModelMinute, store.MinuteOf(t.now), f.Model, f.Lines, f.First(t.now), f.Began(t.now), store.Micros(t.now)); err != nil {
			return err
		}
	}
	for _, d := range c.Done {
		if _, err := t.exec(ctx, addModelDone, d.Lines, d.Row, d.Model); err != nil {
			return err
		}
	}
	return nil
}

// Flow returns finished lines by model and minute.
func (s *Store) Flow(ctx context.Context, since time.Time, limit int) (minutes []batch.ModelMinute, err error) {
	err = s.read(ctx, "reading flow", func(t *tx) error {
		minutes, err = all(ctx, t, flowSince, store.ScanModelMinute, store.MinuteOf(since), store.LimitOf(limit))
		return err
	})
	return minutes, err
}

// WaitingBatches lists batches that are Validating.
func (s *Store) WaitingBatches(ctx context.Context, limit int) (batches []batch.Batch, err error) {
	err = s.read(ctx, "listing waiting batches", func(t *tx) error {
		batches, err = all(ctx, t, waitingBatches, store.ScanBatch, store.LimitOf(limit))
		return err
	})
	return batches, err
}

// CountLines sets the lines of a waiting batch by model.
func (s *Store) CountLines(ctx context.Context, c batch.BatchClaim, lines []batch.ModelLines) error {
	return s.write(ctx, "counting lines", func(t *tx) error {
		seq, err := one(ctx, t, countBatch, store.Value[int64], c.Batch.ID, c.Attempt)
		if err != nil {
			return store.ClaimLost(err)
		}
		return t.putModels(ctx, seq, lines)
	})
}

// putModels replaces the lines of a batch by model.
func (t *tx) putModels(ctx context.Context, seq int64, lines []batch.ModelLines) error {
	if _, err := t.exec(ctx, forgetModels, seq); err != nil {
		return err
	}
	for _, l := range lines {
		if _, err := t.exec(ctx, putModel, seq, l.Model, l.Lines); err != nil {
			return err
		}
	}
	return nil
}

// BatchModels lists the lines of batches by model.
func (s *Store) BatchModels(ctx context.Context, limit int) (models []batch.BatchModel, err error) {
	err = s.read(ctx, "listing models of batches", func(t *tx) error {
		models, err = all(ctx, t, batchModels, store.ScanBatchModel, store.LimitOf(limit))
		return err
	})
	return models, err
}
