package postgres

import (
	"context"
	"errors"

	"github.com/tidegate/tidegate/batch"
	"github.com/tidegate/tidegate/batch/store"
)

// unneeded is true for a file f that no unfinished batch has as its input.
const unneeded = ` AND NOT EXISTS (SELECT 1 FROM batches b WHERE b.input = f.seq AND b.` + store.ActiveStatus + `)`

// Several instances clean up at the same time and skip rows that others have
// locked. Rows are selected once, with an index and a limit, so that the work of a
// call is bounded (a sub-select in ARRAY runs once with every plan).
var (
	// A batch that is being committed to is waited for: a busy one must end too.
	overdueBatches = declare(`WITH due AS (
			SELECT seq FROM batches WHERE status = 'in_progress' AND expires_at <= $1 ORDER BY expires_at LIMIT $2
		)
		SELECT seq FROM batches WHERE seq = ANY (ARRAY(SELECT seq FROM due)) AND status = 'in_progress' ORDER BY seq FOR UPDATE`)
	expireBatches = declare(`UPDATE batches SET status = 'finalizing', ending = 'expired', finalizing_at = $1, ` + unclaim + `
		WHERE seq = ANY ($2::bigint[]) RETURNING id`)
	overdueUploads = declare(`SELECT seq FROM uploads WHERE status = 'pending' AND expires_at <= $1 ORDER BY expires_at LIMIT $2 FOR UPDATE SKIP LOCKED`)

	// One instance at a time drops the work of a batch.
	finishedWork = declare(`SELECT seq FROM batches WHERE work = 1 AND status IN ('failed', 'completed', 'expired', 'cancelled') ORDER BY seq LIMIT 1 FOR UPDATE SKIP LOCKED`)
	dropSegments = declare(`DELETE FROM segments WHERE ctid = ANY (ARRAY(SELECT ctid FROM segments WHERE batch = $1 LIMIT $2))`)
	// A late renewal may lock slices: they are dropped in the next run.
	dropSlices = declare(`DELETE FROM slices WHERE batch = $1 AND number = ANY (ARRAY(
		SELECT number FROM slices WHERE batch = $1 ORDER BY number LIMIT $2 FOR UPDATE SKIP LOCKED))`)
	dropModels = declare(`DELETE FROM batch_models WHERE batch = $1`)
	// min uses the index; EXISTS would scan the table.
	dropped = declare(`UPDATE batches SET work = 0 WHERE seq = $1 AND (SELECT min(number) FROM slices WHERE batch = $1) IS NULL`)

	garbageFiles = declare(`SELECT seq FROM files f WHERE collected_at IS NULL AND gone_at IS NOT NULL AND gone_at <= $1` + unneeded + `
		ORDER BY gone_at LIMIT $2 FOR UPDATE OF f SKIP LOCKED`)
	// The lock prevents an expired file from becoming an input: a creation that
	// read its clock earlier sees the deletion. A batch that was created from the
	// file before the lock was acquired is visible here.
	deleteExpired = declare(`UPDATE files f SET deleted_at = expires_at WHERE seq = ANY ($1::bigint[]) AND deleted_at IS NULL` + unneeded)
	deletedFiles  = declare(`SELECT content FROM files f WHERE seq = ANY ($1::bigint[]) AND deleted_at IS NOT NULL` + unneeded + ` ORDER BY gone_at`)
	// A file can have taken over the content of the part that it was made of.
	garbageParts = declare(`SELECT content FROM upload_parts p WHERE collected_at IS NULL AND gone_at IS NOT NULL AND gone_at <= $1
		AND NOT EXISTS (SELECT 1 FROM files f WHERE f.content = p.content AND f.collected_at IS NULL)
		ORDER BY gone_at LIMIT $2`)
	filesCollected = declare(`UPDATE files SET collected_at = $1 WHERE seq = ANY (ARRAY(
		SELECT seq FROM files WHERE content = ANY ($2::text[]) AND collected_at IS NULL ORDER BY seq FOR UPDATE))`)
	partsCollected = declare(`UPDATE upload_parts SET collected_at = $1 WHERE seq = ANY (ARRAY(
		SELECT seq FROM upload_parts WHERE content = ANY ($2::text[]) AND collected_at IS NULL ORDER BY seq FOR UPDATE))`)

	forgetFiles = declare(`DELETE FROM files WHERE seq = ANY (ARRAY(
		SELECT seq FROM files WHERE collected_at IS NOT NULL AND gone_at <= $1 ORDER BY gone_at LIMIT $2 FOR UPDATE SKIP LOCKED))`)
	forgetBatches = declare(`DELETE FROM batches WHERE seq = ANY (ARRAY(
		SELECT seq FROM batches WHERE deleted_at IS NOT NULL AND work = 0 AND deleted_at <= $1 ORDER BY deleted_at LIMIT $2 FOR UPDATE SKIP LOCKED))`)
	overUploads = declare(`SELECT seq FROM uploads u WHERE ended_at IS NOT NULL AND ended_at <= $1
		AND NOT EXISTS (SELECT 1 FROM upload_parts p WHERE p.upload = u.seq AND p.collected_at IS NULL) ORDER BY ended_at LIMIT $2 FOR UPDATE OF u SKIP LOCKED`)
	forgetParts   = declare(`DELETE FROM upload_parts WHERE upload = ANY ($1::bigint[])`)
	forgetUploads = declare(`DELETE FROM uploads WHERE seq = ANY ($1::bigint[])`)

	unknownKeys = declare(`SELECT k FROM unnest($1::text[]) WITH ORDINALITY AS n (k, place)
		WHERE NOT EXISTS (SELECT 1 FROM files WHERE content = k) AND NOT EXISTS (SELECT 1 FROM upload_parts WHERE content = k) ORDER BY place`)
)

// ExpireBatches expires batches whose deadline has passed.
func (s *Store) ExpireBatches(ctx context.Context, limit int) (ids []string, err error) {
	err = s.write(ctx, "expiring batches", func(t *tx) error {
		overdue, err := all(ctx, t, store.Value[int64], overdueBatches, t.micros(), store.LimitOf(limit))
		if err != nil || len(overdue) == 0 {
			return err
		}
		if _, err := t.exec(ctx, lockStates, overdue); err != nil {
			return err
		}
		ids, err = all(ctx, t, store.Value[string], expireBatches, t.micros(), overdue)
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
		overdue, err := all(ctx, t, store.Value[int64], overdueUploads, t.micros(), store.LimitOf(limit))
		if n = len(overdue); n > 0 {
			t.end(batch.UploadExpired, "", overdue...)
		}
		return err
	})
	if err != nil {
		return 0, err
	}
	return n, nil
}

// DropWork removes rows of finished work, one batch at a time. Autovacuum makes
// their space reusable.
func (s *Store) DropWork(ctx context.Context, limit int) (n int, err error) {
	err = s.write(ctx, "dropping finished work", func(t *tx) error {
		n, err = t.dropWork(ctx, store.LimitOf(limit))
		return err
	})
	if err != nil {
		return 0, err
	}
	return n, nil
}

func (t *tx) dropWork(ctx context.Context, limit int) (int, error) {
	n := 0
	for n < limit {
		seq, err := one(ctx, t, store.Value[int64], finishedWork)
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
		if ended, err := t.exec(ctx, dropped, seq); err != nil || ended == 0 {
			return n, err
		}
	}
	return n, nil
}

// Garbage lists contents that are no longer needed. It deletes expired files, so
// that no batch can start to use them.
func (s *Store) Garbage(ctx context.Context, limit int) (keys []string, err error) {
	limit = store.LimitOf(limit)
	err = s.write(ctx, "looking for garbage", func(t *tx) error {
		if keys, err = t.garbageFiles(ctx, limit); err != nil {
			return err
		}
		parts, err := all(ctx, t, store.Value[string], garbageParts, t.micros(), limit-len(keys))
		keys = append(keys, parts...)
		return err
	})
	if err != nil {
		return nil, err
	}
	return keys, nil
}

func (t *tx) garbageFiles(ctx context.Context, limit int) ([]string, error) {
	files, err := all(ctx, t, store.Value[int64], garbageFiles, t.micros(), limit)
	if err != nil || len(files) == 0 {
		return nil, err
	}
	return t.unneeded(ctx, files)
}

// unneeded deletes expired files among locked ones, and lists the contents of files
// that are no longer needed. It checks for batches again under the lock: a batch
// may have been created between the selection of the file and its lock, even if
// the client deleted the file afterwards.
func (t *tx) unneeded(ctx context.Context, files []int64) ([]string, error) {
	if _, err := t.exec(ctx, deleteExpired, files); err != nil {
		return nil, err
	}
	return all(ctx, t, store.Value[string], deletedFiles, files)
}

// Collected records that contents were deleted.
func (s *Store) Collected(ctx context.Context, keys []string) error {
	return s.write(ctx, "noting collected contents", func(t *tx) error {
		t.later(filesCollected, t.micros(), keys)
		t.later(partsCollected, t.micros(), keys)
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
	uploads, err := all(ctx, t, store.Value[int64], overUploads, before, limit-n)
	if err != nil {
		return 0, err
	}
	if len(uploads) > 0 {
		t.later(forgetParts, uploads)
		t.later(forgetUploads, uploads)
	}
	return n + len(uploads), nil
}

// UnknownKeys returns the keys that no row refers to, including rows of deleted
// objects.
func (s *Store) UnknownKeys(ctx context.Context, keys []string) ([]string, error) {
	var unknown []string
	err := s.read(ctx, "looking up contents", func(t *tx) (err error) {
		unknown, err = all(ctx, t, store.Value[string], unknownKeys, keys)
		return err
	})
	return unknown, err
}
