package upload

import (
	"context"

	"github.com/tidegate/tidegate/batch"
)

// room describes how much more a tenant may store.
type room struct {
	left  int64 // bytes; -1: any number
	limit int64
}

// admitStored returns how much more a tenant may store, or a *StorageError if it is nothing.
// Everything that uses space counts: files, results, parts of pending uploads, and what was
// deleted and is not removed yet. Contents that arrive concurrently may exceed the limits
// together.
func (s *Service) admitStored(ctx context.Context, tenant string) (room, error) {
	limits := s.limits()
	uses, err := s.Store.Storage(ctx, tenant)
	if err != nil {
		return room{}, err
	}
	files, bytes := total(uses)
	if files >= int64(limits.MaxFiles) {
		return room{}, &StorageError{Files: files, MaxFiles: int64(limits.MaxFiles)}
	}
	if limits.MaxStoredBytes == 0 {
		return room{left: -1}, nil
	}
	if bytes >= limits.MaxStoredBytes {
		return room{}, &StorageError{Bytes: bytes, MaxBytes: limits.MaxStoredBytes}
	}
	return room{limits.MaxStoredBytes - bytes, limits.MaxStoredBytes}, nil
}

// admitGrowth returns a *StorageError if a tenant may not store n more bytes in place of
// parts: the content of a compressed upload is larger than its parts.
func (s *Service) admitGrowth(ctx context.Context, tenant string, n int64) error {
	limit := s.limits().MaxStoredBytes
	if n <= 0 || limit == 0 {
		return nil
	}
	uses, err := s.Store.Storage(ctx, tenant)
	if err != nil {
		return err
	}
	_, bytes := total(uses)
	return room{max(0, limit-bytes), limit}.check(n)
}

// total returns the number of contents and their bytes.
func total(uses []batch.StorageUse) (files, bytes int64) {
	for _, use := range uses {
		files, bytes = files+use.Files, bytes+use.Bytes
	}
	return files, bytes
}

// check returns a *StorageError if n more bytes do not fit.
func (r room) check(n int64) error {
	if r.left < 0 || n <= r.left {
		return nil
	}
	return &StorageError{Bytes: r.limit - r.left, MaxBytes: r.limit}
}
