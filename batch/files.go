package batch

import (
	"context"
	"io"
	"time"
)

// Files stores contents under keys that the engine chooses ([A-Za-z0-9_-]+). Each key is
// written once. Methods are safe for concurrent use.
type Files interface {
	Open(ctx context.Context) error
	Close() error
	// Ping returns nil if contents can be written, and ErrNoSpace if the space is used
	// up.
	Ping(ctx context.Context) error
	// Capabilities returns the optional features.
	Capabilities() FilesCapabilities

	// Create begins a content. It is not visible before Commit.
	Create(ctx context.Context, key string) (FileWriter, error)
	// Read returns length bytes from offset on, or up to the end for a negative length;
	// fewer if the content ends before. It returns ErrNotFound for an unknown key.
	Read(ctx context.Context, key string, offset, length int64) (io.ReadCloser, error)
	// Delete removes a content. An unknown key is not an error.
	Delete(ctx context.Context, key string) error
	// List calls visit with every content, in no order, until visit fails.
	List(ctx context.Context, visit func(key string, modified time.Time) error) error
}

// FileWriter writes one content. Exactly one of Commit and Abort ends it. Abort after
// Commit does nothing, so that it can be deferred.
type FileWriter interface {
	// Write returns ErrNoSpace if the disk is full.
	io.Writer
	// Commit makes the content durable and visible atomically.
	Commit(ctx context.Context) error
	// Abort removes everything that was written.
	Abort() error
}
