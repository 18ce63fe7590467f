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
)

// Progress gives the minutes of batches.
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
