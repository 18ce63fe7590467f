package sqlite

import (
	"context"
	"errors"
	"fmt"

	"github.com/tidegate/tidegate/batch"
	"github.com/tidegate/tidegate/batch/store"
)

// Free space in the file beyond reservePages is released to the file system,
// vacuumPages at a time. The reserve prevents the file from growing and shrinking
// with each batch. A page is 4 KiB.
const (
	reservePages = 16 << 10
	vacuumPages  = 2 << 10
)

// unneededFiles are deleted or expired files that no unfinished batch has as its
// input.
const unneededFiles = `FROM files f WHERE collected_at IS NULL AND gone_at IS NOT NULL AND gone_at <= ?
	AND NOT EXISTS (SELECT 1 FROM batches b WHERE b.input = f.seq AND b.` + store.ActiveStatus + `)
	ORDER BY gone_at LIMIT ?`

var (
	expireBatches = writes(`UPDATE batches SET status = 'finalizing', ending = 'expired', finalizing_at = ?1, ` + unclaim + `
		WHERE seq IN (SELECT seq FROM batches WHERE status = 'in_progress' AND expires_at <= ?1 ORDER BY expires_at LIMIT ?2) RETURNING id`)
	overdueUploads = reads(`SELECT ` + store.UploadColumns + `, seq FROM uploads WHERE status = 'pending' AND expires_at <= ? ORDER BY expires_at LIMIT ?`)

	finishedWork = reads(`SELECT seq FROM batches WHERE work = 1 AND status IN ('failed', 'completed', 'expired', 'cancelled') ORDER BY seq LIMIT 1`)
	dropSegments = writes(`DELETE FROM segments WHERE seq IN (SELECT seq FROM segments WHERE batch = ? LIMIT ?)`)
	dropSlices   = writes(`DELETE FROM slices WHERE batch = ?1 AND number IN (SELECT number FROM slices WHERE batch = ?1 LIMIT ?2)`)
	dropModels   = writes(`DELETE FROM batch_models WHERE batch = ?`)
	dropped      = writes(`UPDATE batches SET work = 0 WHERE seq = ?`)

	garbageFiles  = reads(`SELECT content ` + unneededFiles)
	deleteExpired = writes(`UPDATE files SET deleted_at = expires_at WHERE seq IN (SELECT seq ` + unneededFiles + `) AND deleted_at IS NULL`)
	// A file can have taken over the content of the part that it was made of.
	garbageParts = reads(`SELECT content FROM upload_parts p WHERE collected_at IS NULL AND gone_at IS NOT NULL AND gone_at <= ?
		AND NOT EXISTS (SELECT 1 FROM files f WHERE f.content = p.content AND f.collected_at IS NULL)
		ORDER BY gone_at LIMIT ?`)
	fileCollected = writes(`UPDATE files SET collected_at = ? WHERE content = ? AND collected_at IS NULL`)
	partCollected = writes(`UPDATE upload_parts SET collected_at = ? WHERE content = ? AND collected_at IS NULL`)

	forgetFiles = writes(`DELETE FROM files WHERE seq IN (SELECT seq FROM files WHERE collected_at IS NOT NULL AND gone_at <= ? ORDER BY gone_at LIMIT ?)`)
	overUploads = reads(`SELECT seq FROM uploads u WHERE ended_at IS NOT NULL AND ended_at <= ?
		AND NOT EXISTS (SELECT 1 FROM upload_parts p WHERE p.upload = u.seq AND p.collected_at IS NULL) ORDER BY ended_at LIMIT ?`)
	forgetParts   = writes(`DELETE FROM upload_parts WHERE upload = ?`)
	forgetUpload  = writes(`DELETE FROM uploads WHERE seq = ?`)
	forgetBatches = writes(`DELETE FROM batches WHERE seq IN
		(SELECT seq FROM batches WHERE deleted_at IS NOT NULL AND work = 0 AND deleted_at <= ? ORDER BY deleted_at LIMIT ?)`)

	keyKnown = reads(`SELECT EXISTS (SELECT 1 FROM files WHERE content = ?1) OR EXISTS (SELECT 1 FROM upload_parts WHERE content = ?1)`)
)

// ExpireBatches expires batches whose deadline has passed.
func (s *Store) ExpireBatches(ctx context.Context, limit int) (ids []string, err error) {
	err = s.write(ctx, "expiring batches", func(t *tx) error {
		ids, err = all(ctx, t, expireBatches, store.Value[string], store.Micros(t.now), store.LimitOf(limit))
		return err
	})
	if err != nil {
		return nil, err
	}
	return ids, nil
}

// ExpireUploads expires uploads whose time limit has passed.
func (s *Store) ExpireUploads(ctx context.Context, limit int) (n int, err error) {
	err = s.write(ctx, "expiring uploads", func(t *tx) error {
		overdue, err := all(ctx, t, overdueUploads, store.ScanUploadRow, store.Micros(t.now), store.LimitOf(limit))
		if err != nil {
			return err
		}
		for _, u := range overdue {
			u.Status = batch.UploadExpired
			if err := t.end(ctx, u); err != nil {
				return err
			}
		}
		n = len(overdue)
		return nil
	})
	return n, err
}

// DropWork removes rows of finished work, one batch at a time, and releases space
// to the file system.
func (s *Store) DropWork(ctx context.Context, limit int) (n int, err error) {
	err = s.write(ctx, "dropping finished work", func(t *tx) error {
		n, err = t.dropWork(ctx, store.LimitOf(limit))
		return err
	})
	if err != nil {
		return 0, err
	}
	return n, s.shrink(ctx)
}

func (t *tx) dropWork(ctx context.Context, limit int) (int, error) {
	n := 0
	for n < limit {
		seq, err := one(ctx, t, finishedWork, store.Value[int64])
		if errors.Is(err, batch.ErrNotFound) {
			return n, nil
		}
		if err != nil {
			return 0, err
		}
		segments, err := t.exec(ctx, dropSegments, seq, limit-n)
		if err != nil {
			return 0, err
		}
		if n += segments; n == limit {
			return n, nil
		}
		slices, err := t.exec(ctx, dropSlices, seq, limit-n)
		if err != nil {
			return 0, err
		}
		if n += slices; n == limit {
			return n, nil
		}
		if _, err := t.exec(ctx, dropModels, seq); err != nil {
			return 0, err
		}
		if _, err := t.exec(ctx, dropped, seq); err != nil {
			return 0, err
		}
	}
	return n, nil
}

var freePages = reads(`PRAGMA freelist_count`)

// shrink releases some of the free space beyond the reserve.
func (s *Store) shrink(ctx context.Context) error {
	return s.write(ctx, "giving back space", func(t *tx) error {
		free, err := one(ctx, t, freePages, store.Value[int])
		if err != nil || free <= reservePages {
			return err
		}
		_, err = t.sql.ExecContext(context.WithoutCancel(ctx), fmt.Sprintf(`PRAGMA incremental_vacuum(%d)`, min(free-reservePages, vacuumPages)))
		return err
	})
}

// Garbage lists contents that are no longer needed. It deletes expired files, so
// that no batch can start to use them: it waits for a batch that is being created,
// and a batch that is created after the clock was set back does not see the file.
func (s *Store) Garbage(ctx context.Context, limit int) (keys []string, err error) {
	limit = store.LimitOf(limit)
	err = s.write(ctx, "looking for garbage", func(t *tx) error {
		if _, err := t.exec(ctx, deleteExpired, store.Micros(t.now), limit); err != nil {
			return err
		}
		if keys, err = all(ctx, t, garbageFiles, store.Value[string], store.Micros(t.now), limit); err != nil {
			return err
		}
		parts, err := all(ctx, t, garbageParts, store.Value[string], store.Micros(t.now), limit-len(keys))
		keys = append(keys, parts...)
		return err
	})
	if err != nil {
		return nil, err
	}
	return keys, nil
}

// Collected records that contents were deleted.
func (s *Store) Collected(ctx context.Context, keys []string) error {
	return s.write(ctx, "noting collected contents", func(t *tx) error {
		for _, key := range keys {
			for _, collected := range []*statement{fileCollected, partCollected} {
				if _, err := t.exec(ctx, collected, store.Micros(t.now), key); err != nil {
					return err
				}
			}
		}
		return nil
	})
}

// Forget removes old rows of deleted files, ended uploads and deleted batches.
func (s *Store) Forget(ctx context.Context, limit int) (n int, err error) {
	err = s.write(ctx, "forgetting deleted objects", func(t *tx) error {
		n, err = t.forget(ctx, store.Micros(t.now.Add(-store.ForgetAfter)), store.LimitOf(limit))
		return err
	})
	if err != nil {
		return 0, err
	}
	return n, nil
}

func (t *tx) forget(ctx context.Context, before int64, limit int) (int, error) {
	n, err := t.exec(ctx, forgetFiles, before, limit)
	if err != nil {
		return 0, err
	}
	batches, err := t.exec(ctx, forgetBatches, before, limit-n)
	if err != nil {
		return 0, err
	}
	n += batches
	uploads, err := all(ctx, t, overUploads, store.Value[int64], before, limit-n)
	if err != nil {
		return 0, err
	}
	for _, seq := range uploads {
		if _, err := t.exec(ctx, forgetParts, seq); err != nil {
			return 0, err
		}
		if _, err := t.exec(ctx, forgetUpload, seq); err != nil {
			return 0, err
		}
	}
	return n + len(uploads), nil
}

// UnknownKeys returns the keys that no row refers to, including rows of deleted
// objects.
func (s *Store) UnknownKeys(ctx context.Context, keys []string) ([]string, error) {
	var unknown []string
	err := s.read(ctx, "looking up contents", func(t *tx) error {
		for _, key := range keys {
			known, err := one(ctx, t, keyKnown, store.Value[bool], key)
			if err != nil {
				return err
			}
			if !known {
				unknown = append(unknown, key)
			}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return unknown, nil
}
