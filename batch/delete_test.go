package batch_test

import (
	"io/fs"
	"path/filepath"
	"testing"
	"time"

	"github.com/tidegate/tidegate/batch"
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
