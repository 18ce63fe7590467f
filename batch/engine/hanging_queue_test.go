package engine_test

import (
	"context"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tidegate/tidegate/batch"
	"github.com/tidegate/tidegate/batch/queue/memory"
)

// hangingQueue answers nothing: each method waits until it is given up.
type hangingQueue struct {
	batch.Queue
	asked atomic.Int64
}

func (q *hangingQueue) hang(ctx context.Context) error {
	q.asked.Add(1)
	<-ctx.Done()
	return ctx.Err()
}

func (q *hangingQueue) Ping(ctx context.Context) error                    { return q.hang(ctx) }
func (q *hangingQueue) Push(ctx context.Context, _ string, _ []int) error { return q.hang(ctx) }
func (q *hangingQueue) Pop(ctx context.Context, _ string, _ int) ([]int, error) {
	return nil, q.hang(ctx)
}
func (q *hangingQueue) Done(ctx context.Context, _ string, _ []int) error { return q.hang(ctx) }
func (q *hangingQueue) Drop(ctx context.Context, _ string) error          { return q.hang(ctx) }
func (q *hangingQueue) Notify(ctx context.Context) error                  { return q.hang(ctx) }

// Whoever calls the API does not wait for a queue that hangs.
func TestHangingQueueKeepsNobodyWaiting(t *testing.T) {
	h := newHouse(t, batch.Config{})
	h.queue = func() batch.Queue { return &hangingQueue{Queue: memory.New()} }
	h.open()
	answered := make(chan error, 1)
	go func() {
		answered <- func() error {
			request := batch.CreateRequest{InputFileID: h.upload(input(1)), Endpoint: "/v1/chat/completions", CompletionWindow: "24h", Window: 24 * time.Hour}
			b, err := h.engine.CreateBatch(t.Context(), tenant, request)
			if err != nil {
				return fmt.Errorf("creating: %w", err)
			}
			if _, err = h.engine.PrioritizeBatch(t.Context(), tenant, b.ID, 1); err != nil {
				return fmt.Errorf("giving a priority: %w", err)
			}
			if _, err = h.engine.CancelBatch(t.Context(), tenant, b.ID); err != nil {
				return fmt.Errorf("cancelling: %w", err)
			}
			return nil
		}()
	}()
	select {
	case err := <-answered:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(patience / 3): // less than the engine itself waits for a queue
		t.Error("somebody waits for the queue")
	}
}

// failingQueue fails and counts how often it is asked.
type failingQueue struct {
	brokenQueue
	asked atomic.Int64
}

func (q *failingQueue) Push(context.Context, string, []int) error { q.asked.Add(1); return errQueue }

func (q *failingQueue) Pop(context.Context, string, int) ([]int, error) {
	q.asked.Add(1)
	return nil, errQueue
}

func (q *failingQueue) Done(context.Context, string, []int) error { q.asked.Add(1); return errQueue }

func (q *failingQueue) Drop(context.Context, string) error { q.asked.Add(1); return errQueue }

func (q *failingQueue) Notify(context.Context) error { q.asked.Add(1); return errQueue }

// A queue that failed is left alone by all who would ask it, however many
// batches begin and end: each might cost the timeout of a server that hangs.
func TestFailedQueueIsLeftAlone(t *testing.T) {
	const batches = 30
	h := newHouse(t, batch.Config{})
	q := &failingQueue{brokenQueue: brokenQueue{Queue: memory.New()}}
	h.queue = func() batch.Queue { return q }
	h.open()
	in := h.upload(input(3))
	ids := make([]string, batches)
	for i := range ids {
		ids[i] = h.create(in)
	}
	for _, id := range ids {
		h.check(h.wait(id), 3)
	}
	// Pushed, taken from, done, dropped and told of, each would be asked 150 times.
	if n := q.asked.Load(); n > batches {
		t.Errorf("it was asked %d times by %d batches", n, batches)
	}
}
