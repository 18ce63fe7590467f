package sqlite

import (
	"context"
	"time"

	"github.com/tidegate/tidegate/batch"
	"github.com/tidegate/tidegate/batch/store"
)

var (
	addMinute = writes(`INSERT INTO batch_minutes (batch, minute, completed, failed) VALUES (?, ?, ?, ?)
		ON CONFLICT (batch, minute) DO UPDATE SET completed = completed + excluded.completed, failed = failed + excluded.failed`)
	minutesSince = reads(`SELECT minute, completed, failed FROM batch_minutes
		WHERE batch = (SELECT seq FROM batches WHERE id = ? AND deleted_at IS NULL) AND minute >= ? ORDER BY minute`)
	paceSince = reads(`SELECT b.id, b.model, m.minute, m.completed, m.failed
		FROM batch_minutes m INDEXED BY batch_minutes_age CROSS JOIN batches b ON b.seq = m.batch
		WHERE m.minute >= ? ORDER BY m.minute DESC LIMIT ?`)
)

// Pace returns the progress of batches by minute.
func (s *Store) Pace(ctx context.Context, since time.Time, limit int) (pace []batch.Pace, err error) {
	err = s.read(ctx, "reading pace", func(t *tx) error {
		pace, err = all(ctx, t, paceSince, store.ScanPace, store.MinuteOf(since), store.LimitOf(limit))
		return err
	})
	return pace, err
}

// Progress returns the minutes of batches.
func (s *Store) Progress(ctx context.Context, ids []string, since time.Time) (map[string][]batch.Minute, error) {
	progress := make(map[string][]batch.Minute)
	err := s.read(ctx, "reading progress", func(t *tx) error {
		for _, id := range ids {
			minutes, err := all(ctx, t, minutesSince, store.ScanMinute, id, store.MinuteOf(since))
			if err != nil {
				return err
			}
			if len(minutes) > 0 {
				progress[id] = minutes
			}
		}
		return nil
	})
	return progress, err
}
