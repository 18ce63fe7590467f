package postgres

import (
	"context"
	"slices"
	"time"

	"github.com/tidegate/tidegate/batch"
	"github.com/tidegate/tidegate/batch/store"
)

var (
	insertUpload = declare(`INSERT INTO uploads (id, tenant, filename, purpose, mime_type, bytes, file_ttl, status, created_at, expires_at)
		VALUES ($1, $2, $3, $4, $5, $6, $7, 'pending', $8, $9) RETURNING ` + store.UploadColumns + `, seq`)
	selectUpload = declare(`SELECT ` + store.UploadColumns + `, seq FROM uploads WHERE id = $1 AND tenant = $2`)
	lockUpload   = selectUpload + ` FOR UPDATE`
	endUploads   = declare(`UPDATE uploads SET status = $1, file_id = $2, ended_at = $3 WHERE seq = ANY ($4::bigint[])`)
	insertPart   = declare(`INSERT INTO upload_parts (id, upload, content, bytes, created_at) VALUES ($1, $2, $3, $4, $5)`)
	selectParts  = declare(`SELECT ` + store.PartColumns + ` FROM unnest($1::text[]) WITH ORDINALITY AS n (id, place)
		JOIN upload_parts p ON p.id = n.id JOIN uploads u ON u.seq = p.upload WHERE p.upload = $2 ORDER BY n.place`)
	countParts = declare(`SELECT count(*) FROM upload_parts WHERE upload = $1`)
	endParts   = declare(`UPDATE upload_parts SET gone_at = $1 WHERE upload = ANY ($2::bigint[]) AND gone_at IS NULL`)
)

// upload reads an upload, and with lockUpload locks it. After its time limit an upload
// is expired, even if its row still has another status.
func (t *tx) upload(ctx context.Context, sql, tenant, id string) (store.UploadRow, error) {
	u, err := one(ctx, t, store.ScanUploadRow, sql, id, tenant)
	return u.At(t.now), err
}

// pendingUpload returns batch.ErrConflict for an upload that has ended.
func (t *tx) pendingUpload(ctx context.Context, tenant, id string) (store.UploadRow, error) {
	u, err := t.upload(ctx, lockUpload, tenant, id)
	if err == nil && u.Status != batch.UploadPending {
		err = batch.ErrConflict
	}
	return u, err
}

// end ends uploads that are locked, and makes garbage of their parts.
func (t *tx) end(status, fileID string, uploads ...int64) {
	t.later(endUploads, status, fileID, t.micros(), uploads)
	t.later(endParts, t.micros(), uploads)
}

// CreateUpload makes a pending upload.
func (s *Store) CreateUpload(ctx context.Context, u batch.Upload, ttl time.Duration, q batch.Quota) (batch.Upload, error) {
	var made store.UploadRow
	err := s.write(ctx, "creating upload", func(t *tx) (err error) {
		if err := t.admitUpload(ctx, q, u); err != nil {
			return err
		}
		made, err = one(ctx, t, store.ScanUploadRow, insertUpload, u.ID, u.Tenant, u.Filename, u.Purpose, u.MimeType, u.Bytes, u.FileTTL.Microseconds(),
			t.micros(), store.Micros(t.now.Add(ttl)))
		return err
	})
	return made.Upload, err
}

// Upload returns an upload.
func (s *Store) Upload(ctx context.Context, tenant, id string) (batch.Upload, error) {
	var u store.UploadRow
	err := s.read(ctx, "reading upload", func(t *tx) (err error) {
		u, err = t.upload(ctx, selectUpload, tenant, id)
		return err
	})
	return u.Upload, err
}

// CountParts counts the parts of an upload.
func (s *Store) CountParts(ctx context.Context, tenant, uploadID string) (n int, err error) {
	err = s.read(ctx, "counting parts", func(t *tx) error {
		u, err := t.upload(ctx, selectUpload, tenant, uploadID)
		if err == nil {
			n, err = one(ctx, t, store.ScanCount, countParts, u.Row)
		}
		return err
	})
	return n, err
}

// AddPart adds a part to a pending upload.
func (s *Store) AddPart(ctx context.Context, tenant string, p batch.UploadPart, q batch.Quota) (batch.UploadPart, error) {
	err := s.write(ctx, "adding part", func(t *tx) error {
		u, err := t.pendingUpload(ctx, tenant, p.UploadID)
		if err != nil {
			return err
		}
		if err := t.admitPart(ctx, q, u, p); err != nil {
			return err
		}
		p.CreatedAt = t.now
		t.later(insertPart, p.ID, u.Row, p.Key, p.Bytes, t.micros())
		return nil
	})
	if err != nil {
		return batch.UploadPart{}, err
	}
	return p, nil
}

// Parts returns the parts with these ids in this order.
func (s *Store) Parts(ctx context.Context, tenant, uploadID string, ids []string) (parts []batch.UploadPart, err error) {
	err = s.read(ctx, "reading parts", func(t *tx) error {
		u, err := t.upload(ctx, selectUpload, tenant, uploadID)
		if err != nil {
			return err
		}
		if slices.ContainsFunc(ids, unholdable) {
			return batch.ErrNotFound
		}
		parts, err = all(ctx, t, store.ScanPart, selectParts, ids, u.Row)
		if err == nil && len(parts) < len(ids) {
			err = batch.ErrNotFound
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	return parts, nil
}

// CompleteUpload makes the file and ends the upload.
func (s *Store) CompleteUpload(ctx context.Context, tenant, id string, f batch.NewFile) (batch.Upload, batch.File, error) {
	var (
		u    store.UploadRow
		file batch.File
	)
	err := s.write(ctx, "completing upload", func(t *tx) (err error) {
		if u, err = t.pendingUpload(ctx, tenant, id); err != nil {
			return err
		}
		if err := t.admit(ctx, f.Quota, tenant, batch.Stored{Bytes: f.Bytes - u.Bytes}); err != nil {
			return err
		}
		if file, err = t.createFile(ctx, f); err != nil {
			return err
		}
		u.Status, u.FileID = batch.UploadCompleted, file.ID
		t.end(u.Status, u.FileID, u.Row)
		return nil
	})
	return u.Upload, file, err
}

// CancelUpload ends a pending upload.
func (s *Store) CancelUpload(ctx context.Context, tenant, id string) (batch.Upload, error) {
	var u store.UploadRow
	err := s.write(ctx, "cancelling upload", func(t *tx) (err error) {
		u, err = t.upload(ctx, lockUpload, tenant, id)
		switch {
		case err != nil || u.Status == batch.UploadCancelled:
			return err
		case u.Status != batch.UploadPending:
			return batch.ErrConflict
		}
		u.Status = batch.UploadCancelled
		t.end(u.Status, "", u.Row)
		return nil
	})
	return u.Upload, err
}
