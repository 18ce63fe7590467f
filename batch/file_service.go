package batch

import (
	"context"
	"errors"
	"fmt"
	"math"
	"sync"
	"time"

	"golang.org/x/sync/semaphore"

	"github.com/tidegate/tidegate/internal/openai"
)

// FileLimits bound what clients may store. A zero field means its default.
type FileLimits struct {
	// MaxFileBytes is how large a file in one request may be. Default
	// 512 MiB, as at OpenAI.
	MaxFileBytes int64
	// MaxUploadBytes is how large a file in parts may be. Default 8 GiB.
	MaxUploadBytes int64
	// MaxPartBytes is how large a part of an upload may be. Default 64 MiB.
	MaxPartBytes int64
	// MaxOpenUploads is how many uploads of a tenant may be open. Default 1000.
	MaxOpenUploads int
	// MaxUploadParts is how many parts an upload may have. Default 10,000.
	MaxUploadParts int
	// MaxDecompressedBytes is how large a compressed file may become.
	// Default: as large as it may be when it comes uncompressed.
	MaxDecompressedBytes int64
	// MaxLineBytes is up to which length a line is looked at when a file of
	// requests is checked. Default 16 MiB.
	MaxLineBytes int
	// BatchFileTTL is how long files of requests are kept unless the client
	// says otherwise. Default 30 days. Files of other purposes are kept.
	BatchFileTTL time.Duration
	// UploadTTL is how long an upload may take. Default 1 h.
	UploadTTL time.Duration
}

func (l FileLimits) withDefaults() FileLimits {
	def(&l.MaxFileBytes, 512<<20)
	def(&l.MaxUploadBytes, 8<<30)
	def(&l.MaxPartBytes, 64<<20)
	def(&l.MaxOpenUploads, 1000)
	def(&l.MaxUploadParts, 10_000)
	def(&l.MaxLineBytes, 16<<20)
	def(&l.BatchFileTTL, 30*24*time.Hour)
	def(&l.UploadTTL, time.Hour)
	return l
}

// Validate names the first limit that makes no sense.
func (l FileLimits) Validate() error {
	l = l.withDefaults()
	def(&l.MaxDecompressedBytes, math.MaxInt64)
	for _, f := range []struct {
		name  string
		value int64
	}{
		{"max_file_size", l.MaxFileBytes},
		{"max_upload_size", l.MaxUploadBytes},
		{"max_part_size", l.MaxPartBytes},
		{"max_open_uploads", int64(l.MaxOpenUploads)},
		{"max_upload_parts", int64(l.MaxUploadParts)},
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

// FileService is what the API of files and uploads does. Its errors are
// *openai.Error where the client is at fault and else those of Store and
// Files.
type FileService struct {
	Store  Store
	Files  Files
	Limits FileLimits

	once      sync.Once
	unpacking *semaphore.Weighted // made once; see unpackAtOnce
}

func (s *FileService) limits() FileLimits { return s.Limits.withDefaults() }

// MaxFileBytes limits the size of a file in one request.
func (s *FileService) MaxFileBytes() int64 { return s.limits().MaxFileBytes }

// MaxUploadBytes limits the size of a file in parts.
func (s *FileService) MaxUploadBytes() int64 { return s.limits().MaxUploadBytes }

// MaxPartBytes limits the size of a part of an upload.
func (s *FileService) MaxPartBytes() int64 { return s.limits().MaxPartBytes }

// File gives one file, or ErrNotFound.
func (s *FileService) File(ctx context.Context, tenant, id string) (File, error) {
	return s.Store.File(ctx, tenant, id)
}

// List gives a page of files and whether more follow.
func (s *FileService) List(ctx context.Context, tenant string, q FileQuery) ([]File, bool, error) {
	return s.Store.Files(ctx, tenant, q)
}

// Delete removes a file. A batch that has it as its input keeps its content
// until it ends.
func (s *FileService) Delete(ctx context.Context, tenant, id string) error {
	return s.Store.DeleteFile(ctx, tenant, id)
}

// Content opens the content of a file. It ends with ctx.
func (s *FileService) Content(ctx context.Context, tenant, id string) (File, *Content, error) {
	f, err := s.Store.File(ctx, tenant, id)
	if err != nil {
		return File{}, nil, err
	}
	c, err := openContent(ctx, s.Files, f.Key, f.Bytes)
	if !errors.Is(err, ErrNotFound) {
		return f, c, err
	}
	// Either the file was deleted just now, or its content is lost.
	if _, gone := s.Store.File(ctx, tenant, id); gone != nil {
		return File{}, nil, gone
	}
	return File{}, nil, fmt.Errorf("content %s of file %s is lost", f.Key, id) // the file itself is found
}

// ttl is how long a file of a purpose is kept when the client asked for asked.
func (s *FileService) ttl(purpose string, asked time.Duration) time.Duration {
	if asked == 0 && purpose == openai.PurposeBatch {
		return s.limits().BatchFileTTL
	}
	return asked
}

// ErrLeftBehind comes with the error of a request after which a content could
// not be removed. The collector will do it.
var ErrLeftBehind = errors.New("content without a file was left behind")

// cleanupTime is how long removing what came to nothing may take. It is done
// even when the client is gone.
const cleanupTime = 30 * time.Second

func cleanupContext(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.WithoutCancel(ctx), cleanupTime)
}

// remove deletes a content that came to nothing.
func (s *FileService) remove(ctx context.Context, key string) error {
	ctx, cancel := cleanupContext(ctx)
	defer cancel()
	if err := s.Files.Delete(ctx, key); err != nil {
		return fmt.Errorf("%w: %w", ErrLeftBehind, err)
	}
	return nil
}

// record makes the row of a content that is durable. When that fails and no
// row was made, the content goes too.
func (s *FileService) record(ctx context.Context, key string, insert, find func(context.Context) error) error {
	err := insert(ctx)
	if err == nil {
		return nil
	}
	// The database may have committed although we were not told.
	looking, cancel := cleanupContext(ctx)
	defer cancel()
	switch found := find(looking); {
	case found == nil:
		return nil
	case errors.Is(found, ErrNotFound) && !errors.Is(err, ErrUnknown):
		return errors.Join(err, s.remove(ctx, key))
	default: // nobody knows, or the commit is under way yet; the collector deletes the content if it has no row
		return err
	}
}
