package engine_test

import (
	"fmt"
	"io"
	"sync/atomic"
	"testing"

	"github.com/tidegate/tidegate/batch"
	"github.com/tidegate/tidegate/batch/batchtest"
	"github.com/tidegate/tidegate/batch/engine"
)

// almost returns a batch whose lines are all done except one, and a function that ends
// the batch and waits until its slices and results are gone.
func (h harness) almost(t *testing.T, n int) (id string, end func()) {
	t.Helper()
	answer, open := batchtest.First(int64(n - 1))
	h.Pool.Set(func() { h.Pool.Answer = answer })
	id = h.Create(h.Upload(batchtest.Input(n)))
	h.WaitCounted(id, int64(n-1))
	var ending atomic.Bool
	return id, func() {
		if ending.Swap(true) {
			return // the call that ends the batch reads results too
		}
		open()
		h.Wait(id)
		for left := 1; left > 0; {
			var err error
			if left, err = h.Store.Store.DropWork(t.Context(), 1000); err != nil {
				t.Error(err)
			}
		}
	}
}

// A reader of a running batch reports an error when the batch ends and its results are
// removed. It does not take them for results that do not exist yet.
func TestResultsOfABatchThatEndsMeanwhile(t *testing.T) {
	t.Parallel()
	h := newHarness(t, batch.Config{})
	h.Open()
	id, end := h.almost(t, 200)
	r, err := h.Engine.Results(t.Context(), tenant, id, false)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	h.Store.BeforeResults.Store(&end)
	if text, err := io.ReadAll(r); err == nil {
		t.Errorf("%d bytes of results, and no error", len(text))
	}
}

// Lines that are read while their batch ends have their final state.
func TestLinesOfABatchThatEndsMeanwhile(t *testing.T) {
	t.Parallel()
	h := newHarness(t, batch.Config{})
	h.Open()
	for _, state := range []engine.LineState{"", engine.LineCompleted} {
		t.Run(fmt.Sprintf("page of state %q", state), func(t *testing.T) {
			id, end := h.almost(t, 200)
			h.Store.BeforeResults.Store(&end)
			page, err := h.Engine.Lines(t.Context(), tenant, id, engine.LineQuery{Limit: 1000, State: state})
			if err != nil {
				t.Fatal(err)
			}
			if len(page.Lines) != 200 || page.More {
				t.Fatalf("%d lines, more: %t", len(page.Lines), page.More)
			}
			for i, l := range page.Lines {
				if l.Number != i+1 || l.State != engine.LineCompleted {
					t.Fatalf("line %d of the page: %+v", i, l)
				}
			}
		})
	}
	t.Run("one", func(t *testing.T) {
		id, end := h.almost(t, 200)
		h.Store.BeforeResults.Store(&end)
		d, err := h.Engine.Line(t.Context(), tenant, id, 1)
		if err != nil || d.State != engine.LineCompleted || d.Result == nil {
			t.Errorf("%+v, %v", d, err)
		}
	})
}
