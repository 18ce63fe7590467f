package upload

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/tidegate/tidegate/batch"
)

// Limits bound what clients may store. A zero field has its default.
type Limits struct {
	// MaxFileBytes limits the size of a file in one request. Default
	// 512 MiB, as at OpenAI.
	MaxFileBytes int64
	// MaxUploadBytes limits the size of a file in parts. Default 8 GiB.
	MaxUploadBytes int64
	// MaxPartBytes limits the size of a part of an upload. Default 64 MiB.
	MaxPartBytes int64
	// MaxOpenUploads limits the pending uploads of a tenant. Default 1000.
	MaxOpenUploads int
	// MaxStoredBytes limits what a tenant stores. Default: no limit.
	MaxStoredBytes int64
	// MaxFiles limits the files, parts of uploads and results of a tenant. Default
	// 1,000,000.
	MaxFiles int
	// MaxTotalBytes limits what all tenants store together. Default: no limit.
	MaxTotalBytes int64
	// MaxTotalFiles limits what MaxFiles counts, of all tenants together. Default: no
	// limit, because counting costs more the more tenants there are.
	MaxTotalFiles int
	// MaxTotalUploads limits the pending uploads of all tenants together. Default 10,000.
	MaxTotalUploads int
	// MaxUploadParts limits the parts of an upload. Default 10,000.
	MaxUploadParts int
	// MaxDecompressedBytes limits the decompressed size of a compressed file.
	// Default: the limit of an uncompressed file.
	MaxDecompressedBytes int64
	// MaxLineBytes is the length above which a line is skipped when a file of
	// requests is checked. Default 16 MiB.
	MaxLineBytes int
	// BatchFileTTL is the lifetime of files of requests for which the client
	// sets none. Default 30 days. Files of other purposes do not expire.
	BatchFileTTL time.Duration
	// UploadTTL is the time in which an upload must be completed. Default 1 h.
	UploadTTL time.Duration
}

func (l Limits) withDefaults() Limits {
	l.MaxFileBytes = cmp.Or(l.MaxFileBytes, 512<<20)
	l.MaxUploadBytes = cmp.Or(l.MaxUploadBytes, 8<<30)
	l.MaxPartBytes = cmp.Or(l.MaxPartBytes, 64<<20)
	l.MaxOpenUploads = cmp.Or(l.MaxOpenUploads, 1000)
	l.MaxFiles = cmp.Or(l.MaxFiles, 1_000_000)
	l.MaxTotalUploads = cmp.Or(l.MaxTotalUploads, 10_000)
	l.MaxUploadParts = cmp.Or(l.MaxUploadParts, 10_000)
	l.MaxLineBytes = cmp.Or(l.MaxLineBytes, 16<<20)
	l.BatchFileTTL = cmp.Or(l.BatchFileTTL, 30*24*time.Hour)
	l.UploadTTL = cmp.Or(l.UploadTTL, time.Hour)
	return l
}

// Of returns what a tenant may store: its own limits, and these for what it has none of.
func (l Limits) Of(own batch.StorageLimit) batch.StorageLimit {
	l = l.withDefaults()
	return batch.StorageLimit{
		Bytes: cmp.Or(own.Bytes, l.MaxStoredBytes), Files: cmp.Or(own.Files, int64(l.MaxFiles)), Uploads: cmp.Or(own.Uploads, int64(l.MaxOpenUploads)),
	}
}

// Validate reports the first limit that is not positive.
func (l Limits) Validate() error {
	l = l.withDefaults()
	l.MaxDecompressedBytes = cmp.Or(l.MaxDecompressedBytes, math.MaxInt64)
	l.MaxStoredBytes = cmp.Or(l.MaxStoredBytes, math.MaxInt64)
	l.MaxTotalBytes = cmp.Or(l.MaxTotalBytes, math.MaxInt64)
	l.MaxTotalFiles = cmp.Or(l.MaxTotalFiles, math.MaxInt)
	for _, f := range []struct {
		name  string
		value int64
	}{
		{"max_file_size", l.MaxFileBytes},
		{"max_upload_size", l.MaxUploadBytes},
		{"max_part_size", l.MaxPartBytes},
		{"max_open_uploads", int64(l.MaxOpenUploads)},
		{"max_upload_parts", int64(l.MaxUploadParts)},
		{"max_stored_size", l.MaxStoredBytes},
		{"max_files", int64(l.MaxFiles)},
		{"max_total_stored_size", l.MaxTotalBytes},
		{"max_total_files", int64(l.MaxTotalFiles)},
		{"max_total_open_uploads", int64(l.MaxTotalUploads)},
		{"max_decompressed_size", l.MaxDecompressedBytes},
		{"max_line_size", int64(l.MaxLineBytes)},
		{"input_ttl", int64(l.BatchFileTTL)},
		{"upload_ttl", int64(l.UploadTTL)},
	} {
		if f.value <= 0 {
			return fmt.Errorf("%s must be positive, not %d", f.name, f.value)
		}
	}
	return nil
}

// admitPart returns a *TooManyPartsError when the limit is reached, before a part arrives. The
// store checks it again.
func (s *Service) admitPart(ctx context.Context, tenant, uploadID string) error {
	parts, err := s.Store.CountParts(ctx, tenant, uploadID)
	if err != nil {
		return err
	}
	return partsError(s.Quota(tenant).CheckParts(int64(parts)))
}

// partsError returns a *TooManyPartsError for a *batch.QuotaError of parts, and other errors
// as they are.
func partsError(err error) error {
	if e, ok := errors.AsType[*batch.QuotaError](err); ok && e.Kind == batch.QuotaParts {
		return &TooManyPartsError{Parts: e.Used, Limit: e.Max}
	}
	return err
}
