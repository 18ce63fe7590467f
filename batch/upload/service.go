package upload

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"golang.org/x/sync/semaphore"

	"github.com/tidegate/tidegate/batch"
	"github.com/tidegate/tidegate/internal/openai"
)

// Store keeps the rows of files and uploads.
type Store interface {
	batch.FileStore
	batch.UploadStore
	// Storage sums the sizes of a tenant's contents. See batch.AnalyticsStore.
	Storage(ctx context.Context, tenant string) ([]batch.StorageUse, error)
}

// Service serves the API of files and uploads. Its errors are those of
// this package for mistakes of the client, otherwise those of Store and Files. It
// must not be copied.
type Service struct {
	Store  Store
	Files  batch.Files
	Limits Limits
	// Tenants has limits of single tenants instead of MaxStoredBytes, MaxFiles and
	// MaxOpenUploads. A zero field has the value of these.
	Tenants map[string]batch.StorageLimit
	// Arriving counts what arrives, with what other services of this gateway write. If it is
	// nil, the service has its own.
	Arriving *Arriving

	own Arriving

	once      sync.Once
	unpacking *semaphore.Weighted // made once; see unpackAtOnce
}

func (s *Service) limits() Limits { return s.Limits.withDefaults() }

// MaxFileBytes limits the size of a file in one request.
func (s *Service) MaxFileBytes() int64 { return s.limits().MaxFileBytes }

// MaxUploadBytes limits the size of a file in parts.
func (s *Service) MaxUploadBytes() int64 { return s.limits().MaxUploadBytes }

// MaxPartBytes limits the size of a part of an upload.
func (s *Service) MaxPartBytes() int64 { return s.limits().MaxPartBytes }

// File returns a file, or batch.ErrNotFound.
func (s *Service) File(ctx context.Context, tenant, id string) (batch.File, error) {
	return s.Store.File(ctx, tenant, id)
}

// List returns a page of files and whether more follow.
func (s *Service) List(ctx context.Context, tenant string, q batch.FileQuery) ([]batch.File, bool, error) {
	return s.Store.Files(ctx, tenant, q)
}

// Delete removes a file. A batch that has it as its input keeps its content
// until it ends.
func (s *Service) Delete(ctx context.Context, tenant, id string) error {
	return s.Store.DeleteFile(ctx, tenant, id)
}

// Content opens the content of a file. ctx bounds all reading.
func (s *Service) Content(ctx context.Context, tenant, id string) (batch.File, *batch.Content, error) {
	return batch.OpenFile(ctx, s.Store, s.Files, tenant, id)
}

// ttl returns the lifetime of a file for which the client requested asked, 0: none.
func (s *Service) ttl(purpose string, asked time.Duration) time.Duration {
	if asked == 0 && purpose == openai.PurposeBatch {
		return s.limits().BatchFileTTL
	}
	return asked
}

// cleanupTime limits the cleanup after a failed request. Cleanup runs even when
// the client has disconnected.
const cleanupTime = 30 * time.Second

func cleanupContext(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.WithoutCancel(ctx), cleanupTime)
}

// remove deletes the content of a failed request.
func (s *Service) remove(ctx context.Context, key string) error {
	ctx, cancel := cleanupContext(ctx)
	defer cancel()
	if err := s.Files.Delete(ctx, key); err != nil {
		return fmt.Errorf("%w: %w", ErrLeftBehind, err)
	}
	return nil
}

// record inserts the row of a durable content. If that fails and there is no row,
// it removes the content.
func (s *Service) record(ctx context.Context, key string, room *room, insert, find func(context.Context) error) error {
	err := room.arriving.Record(func() error { return insert(ctx) }, room.Hold)
	if err == nil {
		return nil
	}
	// The database may have committed before the error.
	cleanup, cancel := cleanupContext(ctx)
	defer cancel()
	switch found := find(cleanup); {
	case found == nil:
		return nil
	case errors.Is(found, batch.ErrNotFound) && !errors.Is(err, batch.ErrUnknown):
		return errors.Join(err, s.remove(ctx, key))
	default: // unknown, or the commit is still running; the collector deletes a content without a row
		return err
	}
}
