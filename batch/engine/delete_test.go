package engine_test

import (
	"context"
	"fmt"
	"io/fs"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tidegate/tidegate/batch"
	"github.com/tidegate/tidegate/batch/queue/memory"
	"github.com/tidegate/tidegate/batch/store/sqlite"
)

// wantEmpty waits until no content of a file is left.
func (h *house) wantEmpty() {
	h.t.Helper()
	var left []string
	h.until("contents are gone", func() bool {
		left = nil
		err := filepath.WalkDir(filepath.Join(h.dir, "files"), func(path string, d fs.DirEntry, err error) error {
			if err == nil && d.Type().IsRegular() && d.Name() != "lock" && d.Name() != "place" {
				left = append(left, path)
			}
			return nil // what is gone meanwhile is gone
		})
		return err == nil && len(left) == 0
	})
}

// until waits for what another goroutine does.
func (h *house) until(what string, done func() bool) {
	h.t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	timeout := time.After(patience)
	for !done() {
		select {
		case <-tick.C:
		case <-timeout:
			h.t.Fatalf("still not: %s", what)
		}
	}
}

// A batch that is deleted while it runs gives back all that it had: its lines are
// aborted, its slots serve others, and its contents go.
func TestDeleteRunningBatch(t *testing.T) {
	for name, deleted := range map[string]func(h *house, id string) error{
		"by this gateway": func(h *house, id string) error {
			_, err := h.engine.DeleteBatch(t.Context(), tenant, id, batch.Deletion{Input: true})
			return err
		},
		// Another gateway, or this one before a kill, did no more than this.
		"in the store": func(h *house, id string) error {
			_, err := h.store.DeleteBatch(t.Context(), tenant, id, batch.Deletion{Input: true})
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			h := newHouse(t, batch.Config{MaxInFlight: 20, CollectInterval: time.Millisecond})
			var open func()
			h.pool.answer, open = letSome(100)
			h.open()
			id := h.create(h.upload(input(500)))
			h.waitCounted(id, 100)
			h.until("20 lines run", func() bool { return h.inFlight() == 20 })
			if err := deleted(h, id); err != nil {
				t.Fatal(err)
			}
			h.until("lines are aborted", func() bool { return h.inFlight() == 0 && h.engine.InFlight() == 0 })
			h.wantEmpty()
			calls := h.calls()
			open()
			next := h.create(h.upload(input(30)))
			h.check(h.wait(next), 30)
			if got := h.calls() - calls; got != 30 {
				t.Errorf("got %d calls after the deletion, want the 30 of the next batch", got)
			}
			if _, err := h.engine.DeleteBatch(t.Context(), tenant, next, batch.Deletion{Input: true}); err != nil {
				t.Fatal(err)
			}
			h.wantEmpty()
		})
	}
}

// A batch that is deleted while its files are written leaves none of them, not
// even as contents that no row names.
func TestDeleteWhileFinalizing(t *testing.T) {
	h := newHouse(t, batch.Config{CollectInterval: time.Millisecond})
	h.open()
	deleted := make(chan string, 1)
	finish := func(c batch.BatchClaim) error {
		_, err := h.store.DeleteBatch(t.Context(), tenant, c.Batch.ID, batch.Deletion{Input: true})
		deleted <- c.Batch.ID
		return err
	}
	h.store.finish.Store(&finish)
	id := h.create(h.upload(input(30)))
	if got := <-deleted; got != id {
		t.Errorf("got %s deleted, want %s", got, id)
	}
	h.wantEmpty()
}

// Files of an attempt of which nobody knows what came of it are left alone: a row
// may name them yet.
func TestFinishedUnknown(t *testing.T) {
	h := newHouse(t, batch.Config{})
	h.open()
	var lost atomic.Bool
	finish := func(batch.BatchClaim) error {
		if lost.Swap(true) {
			return nil
		}
		return fmt.Errorf("%w: %w", batch.ErrUnavailable, batch.ErrUnknown)
	}
	h.store.finish.Store(&finish)
	b := h.wait(h.create(h.upload(input(30))))
	h.check(b, 30)
	if got := h.contents(); got != 5 { // the input, and output and index of both attempts
		t.Errorf("got %d contents, want 5", got)
	}
}

// recordingQueue notes which batches it was told to forget.
type recordingQueue struct {
	batch.Queue
	dropped chan string
}

func (q *recordingQueue) Drop(ctx context.Context, id string) error {
	q.dropped <- id
	return q.Queue.Drop(ctx, id)
}

// The queue forgets a batch that is deleted while it runs.
func TestDeleteDropsQueue(t *testing.T) {
	h := newHouse(t, batch.Config{MaxInFlight: 20})
	queue := &recordingQueue{Queue: memory.New(), dropped: make(chan string, 10)}
	h.queue = func() batch.Queue { return queue }
	h.pool.answer, _ = letSome(100)
	h.open()
	id := h.create(h.upload(input(500)))
	h.waitCounted(id, 100)
	if _, err := h.engine.DeleteBatch(t.Context(), tenant, id, batch.Deletion{}); err != nil {
		t.Fatal(err)
	}
	select {
	case got := <-queue.dropped:
		if got != id {
			t.Errorf("got %s dropped, want %s", got, id)
		}
	case <-time.After(patience):
		t.Error("the queue was not told to drop the batch")
	}
}

// An engine that starts on a store in which a running batch was deleted does
// nothing for it but remove what is left.
func TestDeletedBeforeStart(t *testing.T) {
	h := newHouse(t, batch.Config{MaxInFlight: 20, CollectInterval: time.Millisecond})
	h.pool.answer, _ = letSome(100)
	h.open()
	id := h.create(h.upload(input(500)))
	h.waitCounted(id, 100)
	h.close(0)
	h.pool.answer = nil
	calls := h.calls()
	store := sqlite.New(sqlite.Config{Path: filepath.Join(h.dir, "tidegate.db")})
	if err := store.Open(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := store.DeleteBatch(t.Context(), tenant, id, batch.Deletion{Input: true}); err != nil {
		t.Fatal(err)
	}
	if err := store.Close(); err != nil {
		t.Fatal(err)
	}
	h.open()
	h.wantEmpty()
	if got := h.calls() - calls; got != 0 {
		t.Errorf("got %d calls for a deleted batch, want none", got)
	}
}

// calls counts the lines that the pool was sent.
func (h *house) calls() int {
	h.pool.mu.Lock()
	defer h.pool.mu.Unlock()
	n := 0
	for _, calls := range h.pool.calls {
		n += calls
	}
	return n
}
