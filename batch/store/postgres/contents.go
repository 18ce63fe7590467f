package postgres

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/tidegate/tidegate/batch"
	"github.com/tidegate/tidegate/batch/store"
)

var (
	readPlace = declare(`SELECT place FROM installation WHERE one = 1`)
	putPlace  = declare(`INSERT INTO installation (one, place) VALUES (1, $1) ON CONFLICT (one) DO UPDATE SET place = excluded.place`)

	neededContents = declare(`SELECT f.seq, f.id, f.content FROM files f WHERE f.seq < $1 AND f.collected_at IS NULL
		AND (f.gone_at IS NULL OR f.gone_at > $2
			OR EXISTS (SELECT 1 FROM batches b WHERE b.input = f.seq AND b.` + store.ActiveStatus + `))
		ORDER BY f.seq DESC LIMIT $3`)

	// In the order of keys, so that two gateways do not wait for each other.
	quarantine = declare(`INSERT INTO unknown_contents (key, seen_at, last_at) SELECT k, $2, $2 FROM unnest($1::text[]) AS n (k) ORDER BY k
		ON CONFLICT (key) DO UPDATE SET last_at = excluded.last_at RETURNING key, seen_at`)
	pruneQuarantine = declare(`DELETE FROM unknown_contents WHERE last_at < $1`)
)

// Place returns the place whose contents belong with the database.
func (s *Store) Place(ctx context.Context) (place string, err error) {
	err = s.read(ctx, "reading place of contents", func(t *tx) (err error) {
		place, err = one(ctx, t, store.Value[string], readPlace)
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
		page, err = all(ctx, t, store.ScanNeededContent, neededContents, store.BeforeOf(before), t.micros(), store.LimitOf(limit))
		return err
	})
	return page, err
}

// Quarantine notes contents that no row names.
func (s *Store) Quarantine(ctx context.Context, keys []string) (noted []batch.UnknownContent, err error) {
	distinct := slices.Compact(slices.Sorted(slices.Values(keys)))
	err = s.write(ctx, "noting unknown contents", func(t *tx) (err error) {
		noted, err = all(ctx, t, store.ScanUnknownContent, quarantine, distinct, t.micros())
		return err
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
