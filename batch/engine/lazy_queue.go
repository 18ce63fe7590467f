package engine

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"

	"github.com/tidegate/tidegate/batch"
	"github.com/tidegate/tidegate/internal/wait"
)

// lazyQueue is a queue that may be unavailable when the gateway starts. The engine works
// without it and opens it when it is available. A circuit breaker pauses calls after an
// error.
type lazyQueue struct {
	batch.Queue
	times     *operationTimes
	open      atomic.Bool
	why       atomic.Pointer[error] // it is not open; nil before the first attempt
	openUntil atomic.Int64          // Unix nanoseconds until which it is not asked
}

var errQueueNotOpen = errors.New("queue is not open")

// Open opens the queue. An unavailable server is not an error.
func (q *lazyQueue) Open(ctx context.Context) error {
	if err := q.attempt(ctx); !errors.Is(err, batch.ErrUnavailable) {
		return err
	}
	return nil
}

func (q *lazyQueue) attempt(ctx context.Context) error {
	err := q.Queue.Open(ctx)
	if err != nil {
		q.why.Store(&err)
	}
	q.open.Store(err == nil)
	return err
}

func (q *lazyQueue) Close() error {
	if !q.open.Swap(false) {
		return nil
	}
	return q.Queue.Close()
}

// there returns the error of a queue that is not open.
func (q *lazyQueue) there() error {
	if q.open.Load() {
		return nil
	}
	if why := q.why.Load(); why != nil {
		return fmt.Errorf("%w: %w", errQueueNotOpen, *why)
	}
	return errQueueNotOpen
}

func (q *lazyQueue) Ping(ctx context.Context) error {
	if err := q.there(); err != nil {
		return err
	}
	return q.Queue.Ping(ctx)
}

func (q *lazyQueue) Push(ctx context.Context, batchID string, numbers []int) error {
	if err := q.ready(); err != nil {
		return err
	}
	defer timed(q.times.queue, "push")()
	return q.Queue.Push(ctx, batchID, numbers)
}

func (q *lazyQueue) Pop(ctx context.Context, batchID string, n int) ([]int, error) {
	if err := q.ready(); err != nil {
		return nil, err
	}
	defer timed(q.times.queue, "pop")()
	return q.Queue.Pop(ctx, batchID, n)
}

func (q *lazyQueue) Done(ctx context.Context, batchID string, numbers []int) error {
	if err := q.ready(); err != nil {
		return err
	}
	defer timed(q.times.queue, "done")()
	return q.Queue.Done(ctx, batchID, numbers)
}

func (q *lazyQueue) Drop(ctx context.Context, batchID string) error {
	if err := q.ready(); err != nil {
		return err
	}
	return q.Queue.Drop(ctx, batchID)
}

func (q *lazyQueue) Notify(ctx context.Context) error {
	if err := q.ready(); err != nil {
		return err
	}
	return q.Queue.Notify(ctx)
}

// runQueueWatch opens a queue that was unavailable at the start, and pings one that failed
// until it is healthy. A queue begins empty: the work in progress is in the store.
func (e *Engine) runQueueWatch(ctx context.Context) {
	for wait.Sleep(ctx, queueCooldown) {
		bounded, cancel := e.bounded(ctx)
		switch {
		case !e.queue.open.Load():
			err := e.queue.attempt(bounded)
			e.noteQueue(err)
			if err == nil {
				e.queue.openUntil.Store(0)
			}
		case e.health.has("queue"):
			e.noteQueue(e.queue.Ping(bounded))
		}
		cancel()
	}
}
