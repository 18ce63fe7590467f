package upload

import (
	"context"
	"crypto/md5"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/tidegate/tidegate/batch"
	"github.com/tidegate/tidegate/internal/openai"
)

// Request asks for an upload in parts
// (https://platform.openai.com/docs/api-reference/uploads/create).
type Request struct {
	Filename string // as CleanFilename returns it
	Purpose  string // one of openai.UploadPurposes
	MimeType string
	Bytes    int64         // of all parts together; at most MaxUploadBytes
	FileTTL  time.Duration // of the file, 0: the purpose's default
}

// CreateUpload begins an upload.
func (s *Service) CreateUpload(ctx context.Context, tenant string, r Request) (batch.Upload, error) {
	u, err := s.Store.CreateUpload(ctx, batch.Upload{
		ID: openai.NewID("upload_"), Tenant: tenant, Filename: r.Filename, Purpose: r.Purpose, MimeType: r.MimeType, Bytes: r.Bytes, FileTTL: r.FileTTL,
	}, s.limits().UploadTTL, s.Quota(tenant))
	if e, ok := errors.AsType[*batch.QuotaError](err); ok && e.Kind == batch.QuotaUploads {
		err = &TooManyUploadsError{Open: e.Used, Limit: e.Max, All: e.All, TTL: s.limits().UploadTTL}
	}
	return u, err
}

// IncomingPart is the content of a part that is being received. Exactly one of Commit
// and Abort ends it; Abort after Commit does nothing.
type IncomingPart struct {
	service  *Service
	tenant   string
	uploadID string
	*measured
}

// BeginPart begins a part of a pending upload with space for the declared number of bytes, as
// Begin does.
func (s *Service) BeginPart(ctx context.Context, tenant, uploadID string, declared int64) (*IncomingPart, error) {
	u, err := s.Store.Upload(ctx, tenant, uploadID)
	if err != nil {
		return nil, err
	}
	if u.Status != batch.UploadPending {
		return nil, &StatusError{"add a part to", u.Status}
	}
	if err := s.admitPart(ctx, tenant, uploadID); err != nil {
		return nil, err
	}
	limit := s.limits().MaxPartBytes
	room, err := s.admit(ctx, tenant, min(declared, limit))
	if err != nil {
		return nil, err
	}
	m, err := s.measure(ctx, openai.NewID("part_"), limit, OnePart, room)
	if err != nil {
		return nil, err
	}
	return &IncomingPart{s, tenant, uploadID, m}, nil
}

// Commit makes the content durable and then the part. Nothing is left after an
// error.
func (in *IncomingPart) Commit(ctx context.Context) (batch.UploadPart, error) {
	s := in.service
	defer in.room.Release()
	if in.size == 0 {
		return batch.UploadPart{}, errors.Join(ErrEmptyPart, in.Abort())
	}
	c, err := in.commit(ctx)
	if err != nil {
		return batch.UploadPart{}, err
	}
	part := batch.UploadPart{ID: c.key, UploadID: in.uploadID, Key: c.key, Bytes: c.bytes}
	err = s.record(ctx, c.key, in.room,
		func(ctx context.Context) error {
			added, err := s.Store.AddPart(ctx, in.tenant, part, s.Quota(in.tenant))
			if err == nil {
				part = added
			}
			return err
		},
		func(ctx context.Context) error {
			parts, err := s.Store.Parts(ctx, in.tenant, in.uploadID, []string{part.ID})
			if err == nil {
				part = parts[0]
			}
			return err
		})
	if errors.Is(err, batch.ErrConflict) {
		err = s.whyNot(ctx, in.tenant, in.uploadID, "add a part to", err)
	}
	err = partsError(err)
	if err != nil {
		return batch.UploadPart{}, fmt.Errorf("recording part: %w", err)
	}
	return part, nil
}

// CompleteRequest lists the parts of an upload.
type CompleteRequest struct {
	PartIDs []string // in the order of the content
	MD5     string   // of the content, in lower-case hex; "" when it is not to be checked
}

// CompleteUpload joins the parts and creates the file. A repeated call returns the
// same result. The File is zero if it was deleted since.
func (s *Service) CompleteUpload(ctx context.Context, tenant, id string, r CompleteRequest) (batch.Upload, batch.File, error) {
	u, err := s.Store.Upload(ctx, tenant, id)
	if err != nil {
		return batch.Upload{}, batch.File{}, err
	}
	switch u.Status {
	case batch.UploadPending:
	case batch.UploadCompleted:
		return s.completed(ctx, u)
	default:
		return batch.Upload{}, batch.File{}, &StatusError{"complete", u.Status}
	}
	parts, err := s.partsOf(ctx, u, r.PartIDs)
	if err != nil {
		return batch.Upload{}, batch.File{}, err
	}
	room := s.replace(tenant, u.Bytes)
	defer room.Release()
	content, err := s.join(ctx, u, parts, r.MD5, room)
	if errors.Is(err, batch.ErrConflict) {
		err = s.whyNot(ctx, tenant, id, "complete", err)
	}
	if err != nil {
		return batch.Upload{}, batch.File{}, err
	}
	commit := CommitRequest{Filename: u.Filename, Purpose: u.Purpose, TTL: u.FileTTL}
	c, err := s.finish(ctx, content, commit, s.limits().MaxUploadBytes)
	if err != nil {
		return batch.Upload{}, batch.File{}, err
	}
	nf := c.file(tenant, commit, s)
	var f batch.File
	err = s.record(ctx, c.key, room,
		func(ctx context.Context) (err error) {
			u, f, err = s.Store.CompleteUpload(ctx, tenant, id, nf)
			return err
		},
		func(ctx context.Context) (err error) {
			if f, err = s.Store.File(ctx, tenant, nf.ID); err != nil {
				return err
			}
			u, err = s.Store.Upload(ctx, tenant, id)
			return err
		})
	if errors.Is(err, batch.ErrConflict) { // another request ended it meanwhile
		now, err := s.Store.Upload(ctx, tenant, id)
		switch {
		case err != nil:
			return batch.Upload{}, batch.File{}, err
		case now.Status == batch.UploadCompleted:
			return s.completed(ctx, now)
		}
		return batch.Upload{}, batch.File{}, &StatusError{"complete", now.Status}
	}
	if err != nil {
		return batch.Upload{}, batch.File{}, fmt.Errorf("recording file: %w", err)
	}
	return u, f, nil
}

func (s *Service) completed(ctx context.Context, u batch.Upload) (batch.Upload, batch.File, error) {
	f, err := s.Store.File(ctx, u.Tenant, u.FileID)
	if errors.Is(err, batch.ErrNotFound) {
		return u, batch.File{}, nil
	}
	return u, f, err
}

// partsOf returns the parts of an upload and checks that they add up to its size.
func (s *Service) partsOf(ctx context.Context, u batch.Upload, ids []string) ([]batch.UploadPart, error) {
	parts, err := s.Store.Parts(ctx, u.Tenant, u.ID, ids)
	if errors.Is(err, batch.ErrNotFound) {
		return nil, &UnknownPartError{u.ID}
	}
	if err != nil {
		return nil, err
	}
	var sum int64
	for _, p := range parts {
		sum += p.Bytes
	}
	if sum != u.Bytes {
		return nil, &PartsSizeError{sum, u.Bytes}
	}
	return parts, nil
}

// join concatenates the parts. Nothing is left after an error.
func (s *Service) join(ctx context.Context, u batch.Upload, parts []batch.UploadPart, wantMD5 string, room *room) (*measured, error) {
	dst, err := s.measure(ctx, openai.NewID("file-"), u.Bytes, AllParts, room)
	if err != nil {
		return nil, err
	}
	err = s.copyParts(ctx, dst, parts, wantMD5)
	if err != nil {
		return nil, errors.Join(err, dst.Abort())
	}
	return dst, nil
}

func (s *Service) copyParts(ctx context.Context, dst io.Writer, parts []batch.UploadPart, wantMD5 string) error {
	sum := md5.New()
	if wantMD5 != "" {
		dst = io.MultiWriter(dst, sum)
	}
	buf := make([]byte, unpackBuffer)
	for _, p := range parts {
		src, err := batch.OpenContent(ctx, s.Files, p.Key, p.Bytes)
		if errors.Is(err, batch.ErrNotFound) { // the upload has ended meanwhile
			return fmt.Errorf("content of part %s does not exist: %w", p.ID, batch.ErrConflict)
		}
		if err != nil {
			return fmt.Errorf("joining parts: %w", err)
		}
		_, err = io.CopyBuffer(struct{ io.Writer }{dst}, struct{ io.Reader }{src}, buf)
		if err = errors.Join(err, src.Close()); err != nil {
			return fmt.Errorf("joining parts: %w", err)
		}
	}
	if got := hex.EncodeToString(sum.Sum(nil)); wantMD5 != "" && got != wantMD5 {
		return &ChecksumError{got}
	}
	return nil
}

// CancelUpload cancels an upload.
func (s *Service) CancelUpload(ctx context.Context, tenant, id string) (batch.Upload, error) {
	u, err := s.Store.CancelUpload(ctx, tenant, id)
	if errors.Is(err, batch.ErrConflict) {
		return batch.Upload{}, s.whyNot(ctx, tenant, id, "cancel", err)
	}
	return u, err
}

// whyNot returns the error for a conflict: a *StatusError with the present status.
func (s *Service) whyNot(ctx context.Context, tenant, id, what string, conflict error) error {
	u, err := s.Store.Upload(ctx, tenant, id)
	if err != nil {
		return err
	}
	if u.Status == batch.UploadPending {
		return fmt.Errorf("upload %s is pending, but: %s", id, conflict.Error()) // the client cannot change that
	}
	return &StatusError{what, u.Status}
}
