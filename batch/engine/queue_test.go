package engine_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/zap"

	"github.com/tidegate/tidegate/batch"
	"github.com/tidegate/tidegate/batch/batchtest"
	"github.com/tidegate/tidegate/batch/engine"
	"github.com/tidegate/tidegate/batch/queue/memory"
	"github.com/tidegate/tidegate/batch/store/sqlite"
)

// forgetful is a queue that loses all slices and notifications, as a queue may.
type forgetful struct{ batch.Queue }

func (forgetful) Pop(context.Context, string, int) ([]int, error) { return nil, nil }
func (forgetful) Push(context.Context, string, []int) error       { return nil }
func (forgetful) Notify(context.Context) error                    { return nil }

var errQueue = errors.New("queue is away")

// failingQueue fails each call until it is mended, and counts the calls.
type failingQueue struct {
	batch.Queue
	asked  atomic.Int64 // calls, without Ping
	pops   atomic.Int64
	mended atomic.Bool // Ping succeeds
}

func (q *failingQueue) fail() error { q.asked.Add(1); return errQueue }

func (q *failingQueue) Ping(context.Context) error {
	if q.mended.Load() {
		return nil
	}
	return errQueue
}

func (q *failingQueue) Pop(context.Context, string, int) ([]int, error) {
	q.pops.Add(1)
	return nil, q.fail()
}

func (q *failingQueue) Push(context.Context, string, []int) error { return q.fail() }
func (q *failingQueue) Done(context.Context, string, []int) error { return q.fail() }
func (q *failingQueue) Drop(context.Context, string) error        { return q.fail() }
func (q *failingQueue) Notify(context.Context) error              { return q.fail() }

func TestQueueIsOnlyAHint(t *testing.T) {
	t.Parallel()
	for name, queue := range map[string]func() batch.Queue{
		"forgetful": func() batch.Queue { return forgetful{memory.New()} },
		"failing":   func() batch.Queue { return &failingQueue{Queue: memory.New()} },
	} {
		t.Run(name, func(t *testing.T) {
			h := newHarness(t, batch.Config{})
			h.NewQueue = queue
			h.Open()
			h.Check(h.Wait(h.Create(h.Upload(batchtest.Input(500)))), 500)
		})
	}
}

// A queue that is away holds nothing up and is left alone for a while.
func TestQueueAway(t *testing.T) {
	t.Parallel()
	h := newHarness(t, batch.Config{MaxInFlight: 10})
	q := &failingQueue{Queue: memory.New()}
	h.NewQueue = func() batch.Queue { return q }
	h.Open()
	b := h.Wait(h.Create(h.Upload(batchtest.Input(2000))))
	h.Check(b, 2000)
	if n := q.pops.Load(); n > 3 {
		t.Errorf("it was asked %d times", n)
	}
	if health := h.Engine.Health(t.Context()); health.OK() || !strings.Contains(strings.Join(health.Paused.Texts(), " "), "queue is away") {
		t.Errorf("health %+v", health)
	}
	if r := h.Pool.Repeated(); r != 0 {
		t.Errorf("%d calls repeated", r)
	}
	// The recovery of the queue is detected without any work.
	q.mended.Store(true)
	batchtest.Until(t, "the gateway is healthy", func() bool { return h.Engine.Health(t.Context()).OK() })
}

// A queue that failed is not called for each batch that begins or ends. Each call could take
// the timeout of a server that hangs.
func TestFailedQueueIsLeftAlone(t *testing.T) {
	t.Parallel()
	const batches = 30
	h := newHarness(t, batch.Config{})
	q := &failingQueue{Queue: memory.New()}
	h.NewQueue = func() batch.Queue { return q }
	h.Open()
	in := h.Upload(batchtest.Input(3))
	ids := make([]string, batches)
	for i := range ids {
		ids[i] = h.Create(in)
	}
	for _, id := range ids {
		h.Check(h.Wait(id), 3)
	}
	// Push, Pop, Done, Drop and Notify for each batch would make 150 calls.
	if n := q.asked.Load(); n > batches {
		t.Errorf("got %d calls of the queue for %d batches, want at most as many", n, batches)
	}
}

// latecomer is a queue whose server is away at first.
type latecomer struct {
	batch.Queue
	there atomic.Bool
	pops  atomic.Int64
}

func (q *latecomer) Open(ctx context.Context) error {
	if !q.there.Load() {
		return fmt.Errorf("connecting: %w", batch.ErrUnavailable)
	}
	return q.Queue.Open(ctx)
}

func (q *latecomer) Pop(ctx context.Context, id string, n int) ([]int, error) {
	q.pops.Add(1)
	return q.Queue.Pop(ctx, id, n)
}

// A queue that is away at the start is used when it comes.
func TestQueueComesLater(t *testing.T) {
	t.Parallel()
	h := newHarness(t, batch.Config{MaxInFlight: 10})
	q := &latecomer{Queue: memory.New()}
	h.NewQueue = func() batch.Queue { return q }
	h.Open()
	h.Check(h.Wait(h.Create(h.Upload(batchtest.Input(500)))), 500)
	if health := h.Engine.Health(t.Context()); !strings.Contains(health.Queue, "connecting") || q.pops.Load() != 0 {
		t.Errorf("health %+v, %d pops", health, q.pops.Load())
	}
	q.there.Store(true)
	batchtest.Until(t, "the queue is open", func() bool { return h.Engine.Health(t.Context()).OK() })
	b := h.Wait(h.Create(h.Upload(batchtest.Input(500))))
	h.Check(b, 500)
	if q.pops.Load() == 0 {
		t.Error("the queue is not used")
	}
}

type refusedQueue struct{ batch.Queue }

func (refusedQueue) Open(context.Context) error { return errQueue }

// A queue that cannot be used at all is refused.
func TestQueueRefused(t *testing.T) {
	t.Parallel()
	h := newHarness(t, batch.Config{})
	engine := engine.NewEngine(batch.Config{}, sqlite.New(sqlite.Config{Path: h.Dir + "/db"}), refusedQueue{memory.New()}, h.NewFiles(), h.Pool, zap.NewNop())
	if err := engine.Open(t.Context()); !errors.Is(err, errQueue) {
		t.Errorf("opened: %v", err)
	}
}

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

// API calls do not wait for a queue that hangs.
func TestHangingQueueKeepsNobodyWaiting(t *testing.T) {
	t.Parallel()
	h := newHarness(t, batch.Config{})
	h.NewQueue = func() batch.Queue { return &hangingQueue{Queue: memory.New()} }
	h.Open()
	answered := make(chan error, 1)
	go func() {
		answered <- func() error {
			request := batch.CreateRequest{InputFileID: h.Upload(batchtest.Input(1)), Endpoint: "/v1/chat/completions", CompletionWindow: "24h", Window: 24 * time.Hour}
			b, err := h.Engine.CreateBatch(t.Context(), tenant, request)
			if err != nil {
				return fmt.Errorf("creating: %w", err)
			}
			if _, err = h.Engine.PrioritizeBatch(t.Context(), tenant, b.ID, 1); err != nil {
				return fmt.Errorf("giving a priority: %w", err)
			}
			if _, err = h.Engine.CancelBatch(t.Context(), tenant, b.ID); err != nil {
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
	case <-time.After(40 * time.Second): // less than the engine itself waits for a queue
		t.Error("API calls wait for the queue, want no wait")
	}
}

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
	t.Parallel()
	h := newHarness(t, batch.Config{})
	queue := &unreachableQueue{Queue: memory.New()}
	h.NewQueue = func() batch.Queue { return queue }
	h.Open()
	if err := h.Engine.PingQueue(t.Context()); err != nil {
		t.Errorf("got %v, want a queue that can be used", err)
	}
	broken := errors.New("connection refused")
	queue.err.Store(&broken)
	if err := h.Engine.PingQueue(t.Context()); !errors.Is(err, broken) {
		t.Errorf("got %v, want %v", err, broken)
	}
}
