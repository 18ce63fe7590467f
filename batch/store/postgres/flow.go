package postgres

import (
	"context"
	"time"

	"github.com/tidegate/tidegate/batch"
	"github.com/tidegate/tidegate/batch/store"
)

var (
	addModelMinutes = declare(`INSERT INTO model_minutes AS m (minute, model, lines, first_at, began_at, last_at)
		SELECT $1::bigint, n.model, n.lines, n.first_at, n.began_at, $2::bigint
		FROM unnest($3::text[], $4::bigint[], $5::bigint[], $6::bigint[]) AS n (model, lines, first_at, began_at)
		ON CONFLICT (minute, model) DO UPDATE SET lines = m.lines + excluded.lines, first_at = least(m.first_at, excluded.first_at),
			began_at = greatest(m.began_at, excluded.began_at), last_at = greatest(m.last_at, excluded.last_at)`)
	flowSince = declare(`SELECT model, minute, lines, first_at, began_at, last_at FROM model_minutes WHERE minute >= $1 ORDER BY minute DESC LIMIT $2`)

	addModelsDone = declare(`UPDATE batch_models m SET done = m.done + n.done
		FROM unnest($1::bigint[], $2::text[], $3::bigint[]) AS n (batch, model, done) WHERE m.batch = n.batch AND m.model = n.model`)
	forgetModels = declare(`DELETE FROM batch_models WHERE batch = $1`)
	putModels    = declare(`INSERT INTO batch_models (batch, model, lines)
		SELECT $1::bigint, n.model, n.lines FROM unnest($2::text[], $3::bigint[]) AS n (model, lines)`)
	// The counts of a waiting batch are dropped like the work of a batch that ran.
	countBatch     = declare(`UPDATE batches SET work = 1 WHERE ` + claimHolds + ` AND status = 'validating' RETURNING seq`)
	waitingBatches = declare(`SELECT ` + store.BatchColumns + ` FROM batches WHERE status = 'validating' ORDER BY priority DESC, seq LIMIT $1`)
	// Rows exist for batches that have not ended, and until DropWork.
	batchModels = declare(`SELECT b.id, m.model, m.lines, m.done FROM batch_models m JOIN batches b ON b.seq = m.batch
		WHERE b.status IN ('validating', 'in_progress') ORDER BY m.batch, m.model LIMIT $1`)
)

// addFlow counts the lines of a commit by model. The minutes, which all batches share,
// are locked in the order of models.
func (t *tx) addFlow(c store.Commit) {
	n := len(c.Flow)
	models, lines, first, began := make([]string, n), make([]int64, n), make([]int64, n), make([]int64, n)
	for i, f := range c.Flow {
		models[i], lines[i], first[i], began[i] = f.Model, f.Lines, f.First(t.now), f.Began(t.now)
	}
	if len(c.Done) > 0 {
		batches, names, done := make([]int64, len(c.Done)), make([]string, len(c.Done)), make([]int64, len(c.Done))
		for i, d := range c.Done {
			batches[i], names[i], done[i] = d.Row, d.Model, d.Lines
		}
		t.later(addModelsDone, batches, names, done)
	}
	t.later(addModelMinutes, store.MinuteOf(t.now), t.micros(), models, lines, first, began)
}

// Flow returns finished lines by model and minute.
func (s *Store) Flow(ctx context.Context, since time.Time, limit int) (minutes []batch.ModelMinute, err error) {
	err = s.read(ctx, "reading flow", func(t *tx) error {
		minutes, err = all(ctx, t, store.ScanModelMinute, flowSince, store.MinuteOf(since), store.LimitOf(limit))
		return err
	})
	return minutes, err
}

// WaitingBatches lists batches that are Validating.
func (s *Store) WaitingBatches(ctx context.Context, limit int) (batches []batch.Batch, err error) {
	err = s.read(ctx, "listing waiting batches", func(t *tx) error {
		batches, err = all(ctx, t, store.ScanBatch, waitingBatches, store.LimitOf(limit))
		return err
	})
	return batches, err
}

// CountLines sets the lines of a waiting batch by model.
func (s *Store) CountLines(ctx context.Context, c batch.BatchClaim, lines []batch.ModelLines) error {
	return s.write(ctx, "counting lines", func(t *tx) error {
		seq, err := one(ctx, t, store.Value[int64], countBatch, c.Batch.ID, c.Attempt)
		if err != nil {
			return store.ClaimLost(err)
		}
		t.putModels(seq, lines)
		return nil
	})
}

// putModels replaces the lines of a batch by model.
func (t *tx) putModels(seq int64, lines []batch.ModelLines) {
	t.later(forgetModels, seq)
	if len(lines) == 0 {
		return
	}
	models, counts := make([]string, len(lines)), make([]int64, len(lines))
	for i, l := range lines {
		models[i], counts[i] = l.Model, l.Lines
	}
	t.later(putModels, seq, models, counts)
}

// BatchModels lists the lines of batches by model.
func (s *Store) BatchModels(ctx context.Context, limit int) (models []batch.BatchModel, err error) {
	err = s.read(ctx, "listing models of batches", func(t *tx) error {
		models, err = all(ctx, t, store.ScanBatchModel, batchModels, store.LimitOf(limit))
		return err
	})
	return models, err
}
