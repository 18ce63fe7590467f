package engine

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"

	"github.com/tidegate/tidegate/batch"
	"github.com/tidegate/tidegate/internal/wait"
)

// heap is a store that has nothing but garbage.
type heap struct {
	batch.Store
	garbage []string
	mu      sync.Mutex       // guards failing
	failing map[string]error // by key: the result of deleting it
	takes   time.Duration    // each deletion
	others  int              // steps of the collector that are not about contents
	deleted int
}

func (h *heap) step(context.Context, int) (int, error) { h.others++; return 0, nil }

func (h *heap) PruneAudit(ctx context.Context, _ batch.AuditRetention, n int) (int, error) {
	return h.step(ctx, n)
}

func (h *heap) ExpireUploads(ctx context.Context, n int) (int, error) { return h.step(ctx, n) }
func (h *heap) DropWork(ctx context.Context, n int) (int, error)      { return h.step(ctx, n) }
func (h *heap) Forget(ctx context.Context, n int) (int, error)        { return h.step(ctx, n) }
func (h *heap) PruneHistory(ctx context.Context, n int) (int, error)  { return h.step(ctx, n) }
func (h *heap) PruneWebhooks(ctx context.Context, n int) (int, error) { return h.step(ctx, n) }

func (h *heap) Garbage(_ context.Context, limit int) ([]string, error) {
	return slices.Clone(h.garbage[:min(limit, len(h.garbage))]), nil
}

func (h *heap) Collected(ctx context.Context, keys []string) error {
	h.garbage = slices.DeleteFunc(h.garbage, func(key string) bool { return slices.Contains(keys, key) })
	return ctx.Err()
}

// deleter are the files in which the contents of a heap lie.
type deleter struct {
	batch.Files
	heap *heap
}

func (d deleter) Delete(ctx context.Context, key string) error {
	h := d.heap
	if !wait.Sleep(ctx, h.takes) {
		return ctx.Err()
	}
	h.mu.Lock()
	err := h.failing[key]
	h.mu.Unlock()
	if err != nil {
		return err
	}
	h.deleted++
	return nil
}

func newHeap(n int) *heap {
	h := &heap{takes: time.Millisecond, failing: make(map[string]error)}
	for i := range n {
		h.garbage = append(h.garbage, fmt.Sprint("key-", i))
	}
	return h
}

func (h *heap) engine() *Engine {
	return NewEngine(batch.Config{}, h, nil, deleter{heap: h}, nil, zap.NewNop())
}

// However long a service takes for a deletion, all is deleted in the end.
func TestSlowDeletionsAreCollected(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		h := newHeap(1200)
		h.takes = 300 * time.Millisecond // a chunk takes longer than a statement may
		if err := h.engine().clean(t.Context()); err != nil {
			t.Error(err)
		}
		if len(h.garbage) > 0 || h.deleted != 1200 {
			t.Errorf("%d contents are left, %d were deleted", len(h.garbage), h.deleted)
		}
	})
}

// A deletion that does not answer is given up.
func TestHangingDeletionIsGivenUp(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		h := newHeap(1)
		h.takes = 24 * time.Hour
		begin := time.Now()
		if err := h.engine().clean(t.Context()); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("it says %v", err)
		}
		if took := time.Since(begin); took > 5*time.Minute {
			t.Errorf("it took %s", took)
		}
	})
}

// A content that cannot be deleted keeps neither the others nor the rest of the
// collector's work, and what was deleted is not deleted again.
func TestFailingContentKeepsNothingElse(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		refused := errors.New("access denied")
		h := newHeap(700)
		h.failing["key-3"] = refused
		e := h.engine()
		for range 3 {
			if err := e.clean(t.Context()); !errors.Is(err, refused) {
				t.Errorf("it says %v", err)
			}
		}
		if !slices.Equal(h.garbage, []string{"key-3"}) || h.deleted != 699 {
			t.Errorf("%d contents are left, %d deletions", len(h.garbage), h.deleted)
		}
		if h.others != 3*6 {
			t.Errorf("%d other steps", h.others)
		}
	})
}

// While the file storage is unavailable it is not called for each content.
func TestCollectorWaitsForFiles(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		h := newHeap(700)
		for _, key := range h.garbage[5:] {
			h.failing[key] = fmt.Errorf("connecting: %w", batch.ErrUnavailable)
		}
		begin := time.Now()
		if err := h.engine().clean(t.Context()); !errors.Is(err, batch.ErrUnavailable) {
			t.Errorf("it says %v", err)
		}
		if asked := time.Since(begin) / h.takes; asked != 6 {
			t.Errorf("it was asked %d times", asked)
		}
		if len(h.garbage) != 695 {
			t.Errorf("%d contents are left", len(h.garbage))
		}
	})
}

// A round of housekeeping that fails holds up no batch work: it is reported apart
// from what does.
func TestFailedHousekeepingIsNoHeldUpWork(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		h := newHeap(1)
		h.failing["key-0"] = errors.New("refused")
		e := h.engine()
		ctx, cancel := context.WithCancel(t.Context())
		var cleaner sync.WaitGroup
		cleaner.Go(func() { e.runCleaner(ctx) })
		defer cleaner.Wait()
		defer cancel()
		time.Sleep(time.Second)
		if got := e.health.reasons(); got != nil {
			t.Errorf("batch work is held up by %q", got)
		}
		want := []string{"collecting what expired: deleting contents: refused"}
		if got := e.health.housekeeping().Texts(); !slices.Equal(got, want) {
			t.Errorf("failed housekeeping is %q, want %q", got, want)
		}
		ok := Health{Store: StatusOK, Queue: StatusOK, Files: StatusOK, Housekeeping: Problems{{Text: want[0]}}}
		if !ok.OK() {
			t.Error("batch work is not OK because of housekeeping")
		}
		h.mu.Lock()
		delete(h.failing, "key-0")
		h.mu.Unlock()
		time.Sleep(e.config().CollectInterval)
		if got := e.health.housekeeping(); got != nil {
			t.Errorf("after a good round failed housekeeping is %q", got)
		}
	})
}
