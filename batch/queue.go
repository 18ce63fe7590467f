package batch

import "context"

// Queue holds references to slices that may be claimable. It may lose, repeat and reorder
// them: the Store decides about each claim. Methods are safe for concurrent use.
type Queue interface {
	Open(ctx context.Context) error
	Close() error
	Ping(ctx context.Context) error
	// Capabilities returns the optional features.
	Capabilities() QueueCapabilities

	// Push adds references to the queue of a batch and wakes the other instances.
	Push(ctx context.Context, batchID string, numbers []int) error
	// Pop removes up to n references without waiting. An empty queue is not an error.
	Pop(ctx context.Context, batchID string, n int) ([]int, error)
	// Done removes references to slices that are finished.
	Done(ctx context.Context, batchID string, numbers []int) error
	// Drop removes the queue of a batch.
	Drop(ctx context.Context, batchID string) error

	// Notify wakes every instance, this one included: there is a new batch,
	// or one was cancelled.
	Notify(ctx context.Context) error
	// Wake delivers at least one value after Push and Notify of any instance. Values may
	// be lost in an outage, so that callers also poll.
	Wake() <-chan struct{}
}
