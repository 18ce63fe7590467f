package batch

import "context"

// Queue says which slice to look at next. It may forget, repeat and reorder:
// the Store decides what a reference is worth. Methods are safe for concurrent
// use.
type Queue interface {
	Open(ctx context.Context) error
	Close() error
	Ping(ctx context.Context) error

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

// Retainer is what a Queue offers besides, if it keeps something of batches in
// this process, of which another instance may be the one that calls Drop.
type Retainer interface {
	// Retain says which batches are active. What is kept of one that was not
	// when Retain was called twice, without a Push in between, is of no use.
	Retain(active func(batchID string) bool)
}
