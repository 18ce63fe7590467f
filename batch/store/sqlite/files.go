package sqlite

import (
	"context"
	"fmt"

	"github.com/tidegate/tidegate/batch"
	"github.com/tidegate/tidegate/batch/store"
)

const (
	// fileVisible is true for a file that exists for clients at ?1.
	fileVisible = `deleted_at IS NULL AND (expires_at IS NULL OR expires_at > ?1)`
)

var (
	insertFile = writes(`INSERT INTO files (` + store.FileColumns + `) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?) RETURNING ` + store.FileColumns)
	selectFile = reads(`SELECT ` + store.FileColumns + ` FROM files WHERE id = ?2 AND tenant = ?3 AND ` + fileVisible)
	hideFile   = writes(`UPDATE files SET deleted_at = ?1 WHERE id = ?2 AND tenant = ?3 AND ` + fileVisible)

	// A cursor may refer to a hidden file, whose row is kept for an hour or longer.
	fileCursor = reads(`SELECT seq FROM files WHERE id = ? AND tenant = ?`)
	filesPages = [store.FilePages]*statement{
		reads(`SELECT ` + store.FileColumns + ` FROM files WHERE tenant = ?2 AND seq < ?3 AND ` + fileVisible + ` ORDER BY seq DESC LIMIT ?4`),
		reads(`SELECT ` + store.FileColumns + ` FROM files WHERE tenant = ?2 AND seq > ?3 AND ` + fileVisible + ` ORDER BY seq LIMIT ?4`),
		reads(`SELECT ` + store.FileColumns + ` FROM files WHERE tenant = ?2 AND seq < ?3 AND purpose = ?5 AND ` + fileVisible + ` ORDER BY seq DESC LIMIT ?4`),
		reads(`SELECT ` + store.FileColumns + ` FROM files WHERE tenant = ?2 AND seq > ?3 AND purpose = ?5 AND ` + fileVisible + ` ORDER BY seq LIMIT ?4`),
	}

	// Files of all tenants, without indexes of results.
	fileCursorOfAll = reads(`SELECT seq FROM files WHERE id = ?1 AND ?2 = '` + batch.AllTenants + `' AND purpose <> '` + batch.PurposeIndex + `'`)
	filesPagesOfAll = [store.FilePages]*statement{
		reads(`SELECT ` + store.FileColumns + ` FROM files INDEXED BY files_all_page WHERE ?2 = '` + batch.AllTenants + `' AND seq < ?3 AND purpose <> '` + batch.PurposeIndex + `' AND ` + fileVisible + ` ORDER BY seq DESC LIMIT ?4`),
		reads(`SELECT ` + store.FileColumns + ` FROM files INDEXED BY files_all_page WHERE ?2 = '` + batch.AllTenants + `' AND seq > ?3 AND purpose <> '` + batch.PurposeIndex + `' AND ` + fileVisible + ` ORDER BY seq LIMIT ?4`),
		reads(`SELECT ` + store.FileColumns + ` FROM files WHERE ?2 = '` + batch.AllTenants + `' AND seq < ?3 AND purpose = ?5 AND ` + fileVisible + ` ORDER BY seq DESC LIMIT ?4`),
		reads(`SELECT ` + store.FileColumns + ` FROM files WHERE ?2 = '` + batch.AllTenants + `' AND seq > ?3 AND purpose = ?5 AND ` + fileVisible + ` ORDER BY seq LIMIT ?4`),
	}
)

// createFile inserts a file without a check of its quota.
func (t *tx) createFile(ctx context.Context, f batch.NewFile) (batch.File, error) {
	compression, err := store.EncodeCompression(f.Compression)
	if err != nil {
		return batch.File{}, fmt.Errorf("writing compression: %w", err)
	}
	return one(ctx, t, insertFile, store.ScanFile, f.ID, f.Tenant, f.Key, f.Filename, f.Purpose, f.Bytes, f.SHA256, store.Text(compression),
		store.Micros(t.now), store.EndOf(t.now, f.TTL))
}

// CreateFile inserts the row of a file. It returns batch.ErrConflict if the ID or
// Key is in use.
func (s *Store) CreateFile(ctx context.Context, f batch.NewFile) (file batch.File, err error) {
	err = s.write(ctx, "creating file", func(t *tx) error {
		if err := t.admit(ctx, f.Quota, f.Tenant, batch.Stored{Files: 1, Bytes: f.Bytes}); err != nil {
			return err
		}
		file, err = t.createFile(ctx, f)
		return err
	})
	return file, err
}

// File returns a file that is neither deleted nor expired.
func (s *Store) File(ctx context.Context, tenant, id string) (file batch.File, err error) {
	err = s.read(ctx, "reading file", func(t *tx) error {
		file, err = one(ctx, t, selectFile, store.ScanFile, store.Micros(t.now), id, tenant)
		return err
	})
	return file, err
}

// Files returns a page of files.
func (s *Store) Files(ctx context.Context, tenant string, q batch.FileQuery) (files []batch.File, more bool, err error) {
	err = s.read(ctx, "listing files", func(t *tx) error {
		page, after := store.FilesPage(q)
		pages, cursor := filesPages, fileCursor
		if tenant == batch.AllTenants {
			pages, cursor = filesPagesOfAll, fileCursorOfAll
		}
		if q.After != "" {
			if after, err = t.cursor(ctx, cursor, q.After, tenant); err != nil {
				return err
			}
		}
		args := []any{store.Micros(t.now), tenant, after, store.LimitOf(q.Limit) + 1}
		if q.Purpose != "" {
			args = append(args, q.Purpose)
		}
		files, err = all(ctx, t, pages[page], store.ScanFile, args...)
		return err
	})
	files, more = store.Cut(files, q.Limit)
	return files, more, err
}

// cursor returns the place in a listing that an object has.
func (t *tx) cursor(ctx context.Context, s *statement, id, tenant string) (int64, error) {
	seq, err := one(ctx, t, s, store.Value[int64], id, tenant)
	return store.Cursor(seq, err, id)
}

// DeleteFile hides a file.
func (s *Store) DeleteFile(ctx context.Context, tenant, id string) error {
	return s.write(ctx, "deleting file", func(t *tx) error {
		n, err := t.exec(ctx, hideFile, store.Micros(t.now), id, tenant)
		if err == nil && n == 0 {
			return batch.ErrNotFound
		}
		if err != nil {
			return err
		}
		return t.audit(ctx, batch.AuditFileDelete, id, tenant, "")
	})
}
