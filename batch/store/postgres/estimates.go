package postgres

import (
	"context"
	"time"

	"github.com/tidegate/tidegate/batch"
	"github.com/tidegate/tidegate/batch/store"
)

var (
	addMinutes = declare(`INSERT INTO batch_minutes AS m (batch, minute, completed, failed)
		SELECT n.batch, $2::bigint, n.completed, n.failed FROM unnest($1::bigint[], $3::bigint[], $4::bigint[]) AS n (batch, completed, failed)
		ON CONFLICT (batch, minute) DO UPDATE SET completed = m.completed + excluded.completed, failed = m.failed + excluded.failed`)
	minutesSince = declare(`SELECT b.id, m.minute, m.completed, m.failed FROM batches b JOIN batch_minutes m ON m.batch = b.seq
		WHERE b.id = ANY ($1::text[]) AND b.deleted_at IS NULL AND m.minute >= $2 ORDER BY m.batch, m.minute`)
	paceSince = declare(`SELECT b.id, b.model, m.minute, m.completed, m.failed
		FROM (SELECT * FROM batch_minutes WHERE minute >= $1 ORDER BY minute DESC LIMIT $2) m JOIN batches b ON b.seq = m.batch
		ORDER BY m.minute DESC`)
)

// Pace returns the progress of batches by minute.
func (s *Store) Pace(ctx context.Context, since time.Time, limit int) (pace []batch.Pace, err error) {
	err = s.read(ctx, "reading pace", func(t *tx) error {
		pace, err = all(ctx, t, store.ScanPace, paceSince, store.MinuteOf(since), store.LimitOf(limit))
		return err
	})
	return pace, err
}

// addMinutes counts the lines that a commit adds. Their batches are locked.
func (t *tx) addMinutes(changed []*store.CommitBatch) {
	batches, completed, failed := make([]int64, len(changed)), make([]int64, len(changed)), make([]int64, len(changed))
	for i, b := range changed {
		batches[i], completed[i], failed[i] = b.Row, b.Fresh.Completed, b.Fresh.Failed
	}
	t.later(addMinutes, batches, store.MinuteOf(t.now), completed, failed)
}

// Progress returns the minutes of batches.
func (s *Store) Progress(ctx context.Context, ids []string, since time.Time) (map[string][]batch.Minute, error) {
	progress := make(map[string][]batch.Minute)
	err := s.read(ctx, "reading progress", func(t *tx) error {
		clear(progress) // results of a previous attempt
		minutes, err := all(ctx, t, store.ScanBatchMinute, minutesSince, ids, store.MinuteOf(since))
		for _, m := range minutes {
			progress[m.BatchID] = append(progress[m.BatchID], m.Minute)
		}
		return err
	})
	return progress, err
}
