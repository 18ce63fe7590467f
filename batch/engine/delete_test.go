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
	"github.com/tidegate/tidegate/batch/batchtest"
	"github.com/tidegate/tidegate/batch/queue/memory"
)

// wantEmpty waits until no content of a file is left.
func (h harness) wantEmpty() {
	h.T.Helper()
	var left []string
	batchtest.Until(h.T, "contents are gone", func() bool {
		left = nil
		err := filepath.WalkDir(filepath.Join(h.Dir, "files"), func(path string, d fs.DirEntry, err error) error {
			if err == nil && d.Type().IsRegular() && d.Name() != "lock" && d.Name() != "place" {
				left = append(left, path)
			}
			return nil // what is gone meanwhile is gone
		})
		return err == nil && len(left) == 0
	})
}

// A batch that is deleted while it runs releases everything: its lines are aborted, its
// slots serve other batches, and its contents are deleted.
func TestDeleteRunningBatch(t *testing.T) {
	t.Parallel()
	for name, deleted := range map[string]func(h harness, id string) error{
		"by this gateway": func(h harness, id string) error {
			_, err := h.Engine.DeleteBatch(t.Context(), tenant, id, batch.Deletion{Input: true})
			return err
		},
		// Another gateway, or this one before a kill, changes only the store.
		"in the store": func(h harness, id string) error {
			_, err := h.Store.DeleteBatch(t.Context(), tenant, id, batch.Deletion{Input: true})
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			h := newHarness(t, batch.Config{MaxInFlight: 20, CollectInterval: time.Millisecond})
			var open func()
			h.Pool.Answer, open = batchtest.First(100)
			h.Open()
			id := h.Create(h.Upload(batchtest.Input(500)))
			h.WaitCounted(id, 100)
			batchtest.Until(h.T, "20 lines run", func() bool { return h.Pool.InFlight() == 20 })
			if err := deleted(h, id); err != nil {
				t.Fatal(err)
			}
			batchtest.Until(h.T, "lines are aborted", func() bool { return h.Pool.InFlight() == 0 && h.Engine.InFlight() == 0 })
			h.wantEmpty()
			calls := h.Pool.CallCount()
			open()
			next := h.Create(h.Upload(batchtest.Input(30)))
			h.Check(h.Wait(next), 30)
			if got := h.Pool.CallCount() - calls; got != 30 {
				t.Errorf("got %d calls after the deletion, want the 30 of the next batch", got)
			}
			if _, err := h.Engine.DeleteBatch(t.Context(), tenant, next, batch.Deletion{Input: true}); err != nil {
				t.Fatal(err)
			}
			h.wantEmpty()
		})
	}
}

// A batch that is deleted while its files are written leaves none of them, not
// even as contents that no row names.
func TestDeleteWhileFinalizing(t *testing.T) {
	t.Parallel()
	h := newHarness(t, batch.Config{CollectInterval: time.Millisecond})
	h.Open()
	deleted := make(chan string, 1)
	finish := func(c batch.BatchClaim) error {
		_, err := h.Store.DeleteBatch(t.Context(), tenant, c.Batch.ID, batch.Deletion{Input: true})
		deleted <- c.Batch.ID
		return err
	}
	h.Store.BeforeFinish.Store(&finish)
	id := h.Create(h.Upload(batchtest.Input(30)))
	if got := <-deleted; got != id {
		t.Errorf("got %s deleted, want %s", got, id)
	}
	h.wantEmpty()
}

// Files of an attempt whose outcome is unknown are not deleted: a row may still name
// them.
func TestFinishedUnknown(t *testing.T) {
	t.Parallel()
	h := newHarness(t, batch.Config{})
	h.Open()
	var lost atomic.Bool
	finish := func(batch.BatchClaim) error {
		if lost.Swap(true) {
			return nil
		}
		return fmt.Errorf("%w: %w", batch.ErrUnavailable, batch.ErrUnknown)
	}
	h.Store.BeforeFinish.Store(&finish)
	b := h.Wait(h.Create(h.Upload(batchtest.Input(30))))
	h.Check(b, 30)
	if got := h.contents(); got != 5 { // the input, and output and index of both attempts
		t.Errorf("got %d contents, want 5", got)
	}
}

// recordingQueue records which batches are dropped.
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
	t.Parallel()
	h := newHarness(t, batch.Config{MaxInFlight: 20})
	queue := &recordingQueue{Queue: memory.New(), dropped: make(chan string, 10)}
	h.NewQueue = func() batch.Queue { return queue }
	h.Pool.Answer, _ = batchtest.First(100)
	h.Open()
	id := h.Create(h.Upload(batchtest.Input(500)))
	h.WaitCounted(id, 100)
	if _, err := h.Engine.DeleteBatch(t.Context(), tenant, id, batch.Deletion{}); err != nil {
		t.Fatal(err)
	}
	select {
	case got := <-queue.dropped:
		if got != id {
			t.Errorf("got %s dropped, want %s", got, id)
		}
	case <-time.After(batchtest.Patience):
		t.Error("the queue was not told to drop the batch")
	}
}

// An engine that starts on a store in which a running batch was deleted does
// nothing for it but remove what is left.
func TestDeletedBeforeStart(t *testing.T) {
	t.Parallel()
	h := newHarness(t, batch.Config{MaxInFlight: 20, CollectInterval: time.Millisecond})
	h.Pool.Answer, _ = batchtest.First(100)
	h.Open()
	id := h.Create(h.Upload(batchtest.Input(500)))
	h.WaitCounted(id, 100)
	h.Close(0)
	h.Pool.Answer = nil
	calls := h.Pool.CallCount()
	store := h.NewStore()
	if err := store.Open(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := store.DeleteBatch(t.Context(), tenant, id, batch.Deletion{Input: true}); err != nil {
		t.Fatal(err)
	}
	if err := store.Close(); err != nil {
		t.Fatal(err)
	}
	h.Open()
	h.wantEmpty()
	if got := h.Pool.CallCount() - calls; got != 0 {
		t.Errorf("got %d calls for a deleted batch, want none", got)
	}
}
