package failpoint

import (
	"context"

	"github.com/tidegate/tidegate/batch"
)

// Queue puts the points before and after the calls to a queue.
func (s *Set) Queue(inner batch.Queue) batch.Queue { return &queue{inner, s} }

type queue struct {
	batch.Queue
	set *Set
}

func (s *queue) Open(ctx context.Context) error {
	return s.set.open(ctx, "queue.Open", s.Queue)
}

func (s *queue) Push(ctx context.Context, batchID string, numbers []int) error {
	return s.set.do("queue.Push", func() error { return s.Queue.Push(ctx, batchID, numbers) })
}

func (s *queue) Pop(ctx context.Context, batchID string, n int) ([]int, error) {
	return get(s.set, "queue.Pop", func() ([]int, error) { return s.Queue.Pop(ctx, batchID, n) })
}

func (s *queue) Done(ctx context.Context, batchID string, numbers []int) error {
	return s.set.do("queue.Done", func() error { return s.Queue.Done(ctx, batchID, numbers) })
}

func (s *queue) Drop(ctx context.Context, batchID string) error {
	return s.set.do("queue.Drop", func() error { return s.Queue.Drop(ctx, batchID) })
}

func (s *queue) Notify(ctx context.Context) error {
	return s.set.do("queue.Notify", func() error { return s.Queue.Notify(ctx) })
}
