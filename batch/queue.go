package batch

import "context"

// Queue says which slice to look at next. It may forget, repeat and reorder:
// the Store decides what a reference is worth. Methods are safe for concurrent
// use.
type Queue interface {
	Open(ctx context.Context) error
	Close() error
	Ping(ctx context.Context) error
	// Capabilities returns the optional features.
	Capabilities() QueueCapabilities

	// Push adds references to a batch's queue and wakes the other instances.
	Push(ctx context.Context, batchID string, numbers []int) error
	// Pop takes up to n references without waiting; none is no error.
	Pop(ctx context.Context, batchID string, n int) ([]int, error)
	// Done says that slices are finished and need not be delivered again.
	Done(ctx context.Context, batchID string, numbers []int) error
	// Drop forgets a batch.
	Drop(ctx context.Context, batchID string) error

	// Notify wakes every instance, this one included: there is a new batch,
	// or one was cancelled.
	Notify(ctx context.Context) error
	// Wake delivers at least one value after Push and Notify, by whatever
	// instance. Values may be lost in an outage, so nothing relies on them
	// alone.
	Wake() <-chan struct{}
}
