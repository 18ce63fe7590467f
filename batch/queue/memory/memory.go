// Package memory is an in-process queue, which needs no server.
package memory

import (
	"context"
	"sync"

	"github.com/tidegate/tidegate/batch"
)

// Queue is a batch.Queue in memory. Its contents are lost when the process ends; the
// engine finds unfinished slices in its store.
type Queue struct {
	wake chan struct{}

	mu      sync.Mutex
	batches map[string]*numbers // guarded by mu; batches with queued slices
}

// New makes an empty queue.
func New() *Queue {
	return &Queue{wake: make(chan struct{}, 1), batches: make(map[string]*numbers)}
}

// Open does nothing.
func (*Queue) Open(context.Context) error { return nil }

// Close does nothing.
func (*Queue) Close() error { return nil }

// Ping always succeeds.
func (*Queue) Ping(context.Context) error { return nil }

// Capabilities implements batch.Queue.
func (q *Queue) Capabilities() batch.QueueCapabilities {
	return batch.QueueCapabilities{Retainer: q}
}

// Push adds those numbers that are not queued now.
func (q *Queue) Push(ctx context.Context, batchID string, add []int) error {
	q.mu.Lock()
	b := q.batches[batchID]
	if b == nil && len(add) > 0 {
		b = &numbers{queued: make(map[int]struct{}, len(add))}
		q.batches[batchID] = b
	}
	if b != nil {
		b.over = false
	}
	for _, n := range add {
		b.push(n)
	}
	q.mu.Unlock()
	return q.Notify(ctx)
}

// Pop takes the numbers that were pushed first.
func (q *Queue) Pop(_ context.Context, batchID string, n int) ([]int, error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	b := q.batches[batchID]
	if b == nil {
		return nil, nil
	}
	taken := b.pop(n)
	q.tidy(batchID, b)
	return taken, nil
}

// Done takes out numbers that are queued again although they are finished.
func (q *Queue) Done(_ context.Context, batchID string, done []int) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	b := q.batches[batchID]
	if b == nil {
		return nil
	}
	for _, n := range done {
		delete(b.queued, n)
	}
	q.tidy(batchID, b)
	return nil
}

// Drop forgets a batch.
func (q *Queue) Drop(_ context.Context, batchID string) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	delete(q.batches, batchID)
	return nil
}

// Retain removes batches that are not active. It is needed because, with several
// instances on one store, the instance that pushed a batch may be neither the one that
// finishes it nor the one that drops it.
func (q *Queue) Retain(active func(batchID string) bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for id, b := range q.batches {
		switch {
		case active(id):
			b.over = false
		case b.over:
			delete(q.batches, id)
		default:
			b.over = true // or it began just now
		}
	}
}

// tidy releases the memory of an empty batch. The caller holds mu.
func (q *Queue) tidy(batchID string, b *numbers) {
	if len(b.queued) == 0 {
		delete(q.batches, batchID)
	}
}

// Notify wakes the engine.
func (q *Queue) Notify(context.Context) error {
	select {
	case q.wake <- struct{}{}:
	default: // a wake is pending already
	}
	return nil
}

// Wake delivers a value after one or more of Push and Notify.
func (q *Queue) Wake() <-chan struct{} { return q.wake }

// numbers is a first-in-first-out set.
type numbers struct {
	order  []int // may hold numbers that are not queued any more
	queued map[int]struct{}
	over   bool // was not active when Retain was called last
}

func (b *numbers) push(n int) {
	if _, is := b.queued[n]; is {
		return
	}
	b.queued[n] = struct{}{}
	if len(b.order) > 2*len(b.queued)+64 {
		b.compact()
	}
	b.order = append(b.order, n)
}

// compact removes from order the numbers that Done removed. A number may be in order
// twice: it is delivered at the first position, and the second one is skipped.
func (b *numbers) compact() {
	seen := make(map[int]struct{}, len(b.queued))
	kept := b.order[:0]
	for _, n := range b.order {
		_, is := b.queued[n]
		if _, twice := seen[n]; is && !twice {
			seen[n] = struct{}{}
			kept = append(kept, n)
		}
	}
	b.order = kept
}

func (b *numbers) pop(n int) []int {
	var taken []int
	i := 0
	for ; i < len(b.order) && len(taken) < n; i++ {
		number := b.order[i]
		if _, is := b.queued[number]; is {
			delete(b.queued, number)
			taken = append(taken, number)
		}
	}
	b.order = b.order[i:]
	return taken
}
