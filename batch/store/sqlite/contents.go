package sqlite

import (
	"context"
	"errors"
	"time"

	"github.com/tidegate/tidegate/batch"
	"github.com/tidegate/tidegate/batch/store"
)

var (
	readPlace = reads(`SELECT place FROM installation WHERE one = 1`)
	putPlace  = writes(`INSERT OR REPLACE INTO installation (one, place) VALUES (1, ?)`)

	neededContents = reads(`SELECT f.seq, f.id, f.content FROM files f WHERE f.seq < ?1 AND f.collected_at IS NULL
		AND (f.gone_at IS NULL OR f.gone_at > ?2
			OR EXISTS (SELECT 1 FROM batches b WHERE b.input = f.seq AND b.` + store.ActiveStatus + `))
		ORDER BY f.seq DESC LIMIT ?3`)

	quarantine = writes(`INSERT INTO unknown_contents (key, seen_at, last_at) VALUES (?1, ?2, ?2)
		ON CONFLICT (key) DO UPDATE SET last_at = excluded.last_at RETURNING key, seen_at`)
	pruneQuarantine = writes(`DELETE FROM unknown_contents WHERE last_at < ?`)
)

// Place returns the place whose contents belong with the database.
func (s *Store) Place(ctx context.Context) (place string, err error) {
	err = s.read(ctx, "reading place of contents", func(t *tx) (err error) {
		place, err = one(ctx, t, readPlace, store.Value[string])
		if errors.Is(err, batch.ErrNotFound) {
			return nil
		}
		return err
	})
	return place, err
}

// SetPlace sets it.
func (s *Store) SetPlace(ctx context.Context, place string) error {
	return s.write(ctx, "setting place of contents", func(t *tx) error {
		_, err := t.exec(ctx, putPlace, place)
		return err
	})
}

// NeededContents lists contents that files need.
func (s *Store) NeededContents(ctx context.Context, before int64, limit int) (page []batch.NeededContent, err error) {
	err = s.read(ctx, "listing needed contents", func(t *tx) (err error) {
		page, err = all(ctx, t, neededContents, store.ScanNeededContent, store.BeforeOf(before), store.Micros(t.now), store.LimitOf(limit))
		return err
	})
	return page, err
}

// Quarantine notes contents that no row names.
func (s *Store) Quarantine(ctx context.Context, keys []string) (noted []batch.UnknownContent, err error) {
	err = s.write(ctx, "noting unknown contents", func(t *tx) error {
		noted = nil
		for _, key := range keys {
			c, err := one(ctx, t, quarantine, store.ScanUnknownContent, key, store.Micros(t.now))
			if err != nil {
				return err
			}
			noted = append(noted, c)
		}
		return nil
	})
	return noted, err
}

// PruneQuarantine forgets contents that were not noted since a time.
func (s *Store) PruneQuarantine(ctx context.Context, since time.Time) error {
	return s.write(ctx, "forgetting unknown contents", func(t *tx) error {
		_, err := t.exec(ctx, pruneQuarantine, store.Micros(since))
		return err
	})
}
