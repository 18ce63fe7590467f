package sqlite

import (
	"context"
	"time"

	"github.com/tidegate/tidegate/batch"
	"github.com/tidegate/tidegate/batch/store"
)

var (
	insertUpload = writes(`INSERT INTO uploads (id, tenant, filename, purpose, mime_type, bytes, file_ttl, status, created_at, expires_at)
		VALUES (?, ?, ?, ?, ?, ?, ?, 'pending', ?, ?) RETURNING ` + store.UploadColumns + `, seq`)
	selectUpload = reads(`SELECT ` + store.UploadColumns + `, seq FROM uploads WHERE id = ? AND tenant = ?`)
	endUpload    = writes(`UPDATE uploads SET status = ?, file_id = ?, ended_at = ? WHERE seq = ?`)
	insertPart   = writes(`INSERT INTO upload_parts (id, upload, content, bytes, created_at) VALUES (?, ?, ?, ?, ?)`)
	selectPart   = reads(`SELECT ` + store.PartColumns + ` FROM upload_parts p JOIN uploads u ON u.seq = p.upload WHERE p.id = ? AND p.upload = ?`)
	countParts   = reads(`SELECT count(*) FROM upload_parts WHERE upload = ?`)
	endParts     = writes(`UPDATE upload_parts SET gone_at = ? WHERE upload = ? AND gone_at IS NULL`)
)

// upload reads an upload. After its time limit it is expired, even if its row still
// has another status.
func (t *tx) upload(ctx context.Context, tenant, id string) (store.UploadRow, error) {
	u, err := one(ctx, t, selectUpload, store.ScanUploadRow, id, tenant)
	return u.At(t.now), err
}

// pendingUpload returns batch.ErrConflict for an upload that has ended.
func (t *tx) pendingUpload(ctx context.Context, tenant, id string) (store.UploadRow, error) {
	u, err := t.upload(ctx, tenant, id)
	if err == nil && u.Status != batch.UploadPending {
		err = batch.ErrConflict
	}
	return u, err
}

// end stores the new state of u and marks its parts as garbage.
func (t *tx) end(ctx context.Context, u store.UploadRow) error {
	if _, err := t.exec(ctx, endUpload, u.Status, u.FileID, store.Micros(t.now), u.Row); err != nil {
		return err
	}
	_, err := t.exec(ctx, endParts, store.Micros(t.now), u.Row)
	return err
}

// CreateUpload makes a pending upload.
func (s *Store) CreateUpload(ctx context.Context, u batch.Upload, ttl time.Duration, q batch.Quota) (batch.Upload, error) {
	var made store.UploadRow
	err := s.write(ctx, "creating upload", func(t *tx) (err error) {
		if err := t.admitUpload(ctx, q, u); err != nil {
			return err
		}
		made, err = one(ctx, t, insertUpload, store.ScanUploadRow, u.ID, u.Tenant, u.Filename, u.Purpose, u.MimeType, u.Bytes, u.FileTTL.Microseconds(),
			store.Micros(t.now), store.Micros(t.now.Add(ttl)))
		return err
	})
	return made.Upload, err
}

// Upload returns an upload.
func (s *Store) Upload(ctx context.Context, tenant, id string) (batch.Upload, error) {
	var u store.UploadRow
	err := s.read(ctx, "reading upload", func(t *tx) (err error) {
		u, err = t.upload(ctx, tenant, id)
		return err
	})
	return u.Upload, err
}

// CountParts counts the parts of an upload.
func (s *Store) CountParts(ctx context.Context, tenant, uploadID string) (n int, err error) {
	err = s.read(ctx, "counting parts", func(t *tx) error {
		u, err := t.upload(ctx, tenant, uploadID)
		if err == nil {
			n, err = one(ctx, t, countParts, store.ScanCount, u.Row)
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
		_, err = t.exec(ctx, insertPart, p.ID, u.Row, p.Key, p.Bytes, store.Micros(t.now))
		return err
	})
	if err != nil {
		return batch.UploadPart{}, err
	}
	return p, nil
}

// Parts returns the parts with these ids in this order.
func (s *Store) Parts(ctx context.Context, tenant, uploadID string, ids []string) ([]batch.UploadPart, error) {
	parts := make([]batch.UploadPart, len(ids))
	err := s.read(ctx, "reading parts", func(t *tx) error {
		u, err := t.upload(ctx, tenant, uploadID)
		if err != nil {
			return err
		}
		for i, id := range ids {
			if parts[i], err = one(ctx, t, selectPart, store.ScanPart, id, u.Row); err != nil {
				return err
			}
		}
		return nil
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
		return t.end(ctx, u)
	})
	return u.Upload, file, err
}

// CancelUpload ends a pending upload.
func (s *Store) CancelUpload(ctx context.Context, tenant, id string) (batch.Upload, error) {
	var u store.UploadRow
	err := s.write(ctx, "cancelling upload", func(t *tx) (err error) {
		u, err = t.upload(ctx, tenant, id)
		switch {
		case err != nil || u.Status == batch.UploadCancelled:
			return err
		case u.Status != batch.UploadPending:
			return batch.ErrConflict
		}
		u.Status = batch.UploadCancelled
		return t.end(ctx, u)
	})
	return u.Upload, err
}
