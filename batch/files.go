package batch

import (
	"context"
	"io"
	"time"
)

// Files keeps contents under keys that the engine chooses ([A-Za-z0-9_-]+). A
// key is written once. Methods are safe for concurrent use.
type Files interface {
	Open(ctx context.Context) error
	Close() error
	// Ping tells whether contents can be written, ErrNoSpace when they are
	// not for want of space.
	Ping(ctx context.Context) error
	// Capabilities returns the optional features.
	Capabilities() FilesCapabilities

	// Create begins a content. Nothing is to be seen of it before Commit.
	Create(ctx context.Context, key string) (FileWriter, error)
	// Read gives length bytes from offset on, or all the rest for a negative
	// length; fewer when the content ends. ErrNotFound when there is none.
	Read(ctx context.Context, key string, offset, length int64) (io.ReadCloser, error)
	// Delete removes a content; none is no error.
	Delete(ctx context.Context, key string) error
	// List calls visit with every content, in no order, until it fails.
	List(ctx context.Context, visit func(key string, modified time.Time) error) error
}

// FileWriter takes one content. Exactly one of Commit and Abort ends it;
// Abort after Commit does nothing, so that it can be deferred.
type FileWriter interface {
	// Write gives ErrNoSpace when the disk is full.
	io.Writer
	// Commit makes the content durable and visible, whole or not at all.
	Commit(ctx context.Context) error
	// Abort leaves nothing behind.
	Abort() error
}
