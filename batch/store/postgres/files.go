package postgres

import (
	"context"
	"errors"
	"fmt"
	"math"

	"github.com/tidegate/tidegate/batch"
	"github.com/tidegate/tidegate/batch/store"
)

const (
	fileColumns = `id, tenant, content, filename, purpose, bytes, sha256, compression, created_at, expires_at`

	// fileVisible is true for a file that exists for clients at $1.
	fileVisible = `deleted_at IS NULL AND (expires_at IS NULL OR expires_at > $1)`
)

var (
	insertFile = `INSERT INTO files (` + fileColumns + `) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10) RETURNING ` + fileColumns
	selectFile = `SELECT ` + fileColumns + ` FROM files WHERE id = $2 AND tenant = $3 AND ` + fileVisible
	hideFile   = `UPDATE files SET deleted_at = $1 WHERE id = $2 AND tenant = $3 AND ` + fileVisible

	// A cursor may be hidden: the row stays for an hour or longer.
	fileCursor = `SELECT seq FROM files WHERE id = $1 AND tenant = $2`
	filesPages = [...]string{
		`SELECT ` + fileColumns + ` FROM files WHERE tenant = $2 AND seq < $3 AND ` + fileVisible + ` ORDER BY seq DESC LIMIT $4`,
		`SELECT ` + fileColumns + ` FROM files WHERE tenant = $2 AND seq > $3 AND ` + fileVisible + ` ORDER BY seq LIMIT $4`,
		`SELECT ` + fileColumns + ` FROM files WHERE tenant = $2 AND seq < $3 AND purpose = $5 AND ` + fileVisible + ` ORDER BY seq DESC LIMIT $4`,
		`SELECT ` + fileColumns + ` FROM files WHERE tenant = $2 AND seq > $3 AND purpose = $5 AND ` + fileVisible + ` ORDER BY seq LIMIT $4`,
	}
)

func scanFile(r row) (batch.File, error) {
	var (
		f           batch.File
		compression []byte
	)
	if err := r.Scan(&f.ID, &f.Tenant, &f.Key, &f.Filename, &f.Purpose, &f.Bytes, &f.SHA256, &compression,
		timeIn{&f.CreatedAt}, timeIn{&f.ExpiresAt}); err != nil {
		return f, err
	}
	return f, store.DecodeFile(&f, compression)
}

func (t *tx) createFile(ctx context.Context, f batch.NewFile) (batch.File, error) {
	compression, err := store.EncodeCompression(f.Compression)
	if err != nil {
		return batch.File{}, fmt.Errorf("writing compression: %w", err)
	}
	return one(ctx, t, scanFile, insertFile, f.ID, f.Tenant, f.Key, f.Filename, f.Purpose, f.Bytes, f.SHA256, text(compression),
		t.micros(), endOf(t.now, f.TTL))
}

// CreateFile makes the row of a file. An ID or Key that is in use gives
// batch.ErrConflict.
func (s *Store) CreateFile(ctx context.Context, f batch.NewFile) (file batch.File, err error) {
	err = s.write(ctx, "creating file", func(t *tx) error {
		file, err = t.createFile(ctx, f)
		return err
	})
	return file, err
}

// File gives a file that is neither deleted nor expired.
func (s *Store) File(ctx context.Context, tenant, id string) (file batch.File, err error) {
	err = s.read(ctx, "reading file", func(t *tx) error {
		file, err = one(ctx, t, scanFile, selectFile, t.micros(), id, tenant)
		return err
	})
	return file, err
}

// Files gives a page of files.
func (s *Store) Files(ctx context.Context, tenant string, q batch.FileQuery) (files []batch.File, more bool, err error) {
	err = s.read(ctx, "listing files", func(t *tx) error {
		after, page := int64(math.MaxInt64), 0
		if q.Ascending {
			after, page = 0, 1
		}
		if q.After != "" {
			if after, err = t.cursor(ctx, fileCursor, q.After, tenant); err != nil {
				return err
			}
		}
		args := []any{t.micros(), tenant, after, limitOf(q.Limit) + 1}
		if q.Purpose != "" {
			page += 2
			args = append(args, q.Purpose)
		}
		files, err = all(ctx, t, scanFile, filesPages[page], args...)
		return err
	})
	files, more = cut(files, q.Limit)
	return files, more, err
}

// cursor gives the place in a listing that an object has.
func (t *tx) cursor(ctx context.Context, sql, id, tenant string) (int64, error) {
	seq, err := one(ctx, t, value[int64], sql, id, tenant)
	if errors.Is(err, batch.ErrNotFound) {
		return 0, fmt.Errorf("%w: %q", batch.ErrBadCursor, id)
	}
	return seq, err
}

// limitOf keeps a limit from being negative, which PostgreSQL refuses.
func limitOf(limit int) int { return max(limit, 0) }

// cut makes a page of limit items from one more than that.
func cut[T any](items []T, limit int) (page []T, more bool) {
	if limit = limitOf(limit); len(items) > limit {
		return items[:limit], true
	}
	return items, false
}

// DeleteFile hides a file.
func (s *Store) DeleteFile(ctx context.Context, tenant, id string) error {
	return s.write(ctx, "deleting file", func(t *tx) error {
		n, err := t.exec(ctx, hideFile, t.micros(), id, tenant)
		if err == nil && n == 0 {
			return batch.ErrNotFound
		}
		return err
	})
}
