package engine_test

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"

	"github.com/tidegate/tidegate/batch"
	"github.com/tidegate/tidegate/batch/queue/memory"
)

// unreachableQueue is a queue that a test breaks.
type unreachableQueue struct {
	batch.Queue
	err atomic.Pointer[error]
}

func (q *unreachableQueue) Ping(ctx context.Context) error {
	if err := q.err.Load(); err != nil {
		return *err
	}
	return q.Queue.Ping(ctx)
}

func TestPingQueue(t *testing.T) {
	h := newHouse(t, batch.Config{})
	queue := &unreachableQueue{Queue: memory.New()}
	h.queue = func() batch.Queue { return queue }
	h.open()
	if err := h.engine.PingQueue(t.Context()); err != nil {
		t.Errorf("got %v, want a queue that can be used", err)
	}
	broken := errors.New("connection refused")
	queue.err.Store(&broken)
	if err := h.engine.PingQueue(t.Context()); !errors.Is(err, broken) {
		t.Errorf("got %v, want %v", err, broken)
	}
}
