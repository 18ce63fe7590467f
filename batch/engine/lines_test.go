package engine_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/tidegate/tidegate/batch"
	"github.com/tidegate/tidegate/batch/batchtest"
	"github.com/tidegate/tidegate/batch/engine"
)

// allLines pages through the lines of a batch.
func (h harness) allLines(t *testing.T, id string, q engine.LineQuery) []engine.Line {
	t.Helper()
	var all []engine.Line
	for {
		page, err := h.Engine.Lines(t.Context(), tenant, id, q)
		if err != nil {
			t.Fatal(err)
		}
		if len(page.Lines) > q.Limit || page.More && page.After <= q.After {
			t.Fatalf("got %d lines after %d and next position %d, want at most %d lines and a later position", len(page.Lines), q.After, page.After, q.Limit)
		}
		all = append(all, page.Lines...)
		if !page.More {
			return all
		}
		q.After = page.After
	}
}

// checkLines asserts that lines are those of 0…n-1 for which want returns true.
func checkLines(t *testing.T, what string, lines []engine.Line, n int, want func(i int) bool) {
	t.Helper()
	at := 0
	for i := range n {
		if !want(i) {
			continue
		}
		if at >= len(lines) {
			t.Errorf("%s: %d lines, without %s", what, len(lines), batchtest.CustomID(i))
			return
		}
		if l := lines[at]; l.Number != i+1 || l.CustomID != batchtest.CustomID(i) {
			t.Errorf("%s: line %d is %+v, want %s", what, at, l, batchtest.CustomID(i))
			return
		}
		at++
	}
	if at != len(lines) {
		t.Errorf("%s: %d lines, want %d", what, len(lines), at)
	}
}

// Lines are paged in input order while a batch runs and after it has ended, in
// every state, whatever the size of pages.
func TestLines(t *testing.T) {
	t.Parallel()
	const n = 400 // seven slices
	h := newHarness(t, batch.Config{MaxInFlight: 400})
	hold := make(chan struct{})
	fail := failEvery(7)
	h.Pool.Answer = func(ctx context.Context, id string, call int) (batch.Answer, error) {
		if id >= batchtest.CustomID(300) {
			return batchtest.Behind(hold)(ctx, id, call)
		}
		return fail(ctx, id, call)
	}
	h.Open()
	id := h.Create(h.Upload(strings.ReplaceAll(batchtest.Input(n), "\n", "\n\n")))
	h.WaitCounted(id, 300-43)
	batchtest.Until(t, "failures are counted", func() bool { return h.Get(id).Counts.Failed == 43 })
	check := func(when string, done int) {
		t.Helper()
		for _, limit := range []int{1, 63, 64, 100, 1000} {
			what := fmt.Sprintf("%s, %d a page", when, limit)
			checkLines(t, what, h.allLines(t, id, engine.LineQuery{Limit: limit}), n, func(int) bool { return true })
			for state, want := range map[engine.LineState]func(i int) bool{
				engine.LineFailed:    func(i int) bool { return i < 300 && i%7 == 0 },
				engine.LineCompleted: func(i int) bool { return i < done && (i >= 300 || i%7 != 0) },
				engine.LinePending:   func(i int) bool { return i >= done },
			} {
				if limit == 1 {
					continue
				}
				lines := h.allLines(t, id, engine.LineQuery{Limit: limit, State: state})
				checkLines(t, what+", "+string(state), lines, n, want)
				for _, l := range lines {
					if l.State != state {
						t.Fatalf("%s: %+v among %s", what, l, state)
					}
				}
			}
		}
	}
	check("running", 300)
	running := h.allLines(t, id, engine.LineQuery{Limit: 300})
	close(hold)
	b := h.Wait(id)
	check("completed", n)
	for i, l := range h.allLines(t, id, engine.LineQuery{Limit: 300}) {
		if i < 300 && l != running[i] {
			t.Fatalf("after the end %+v, before %+v", l, running[i])
		}
		switch {
		case l.Attempts != 1 || l.Upstream != "fake":
			t.Fatalf("%+v", l)
		case l.State == engine.LineFailed && (l.Status != 400 || l.Message != "no"),
			l.State == engine.LineCompleted && (l.Status != 200 || l.Message != "" || l.Usage.TotalTokens != 5):
			t.Fatalf("%+v", l)
		}
	}
	results := make(map[string]string)
	for _, f := range []string{b.OutputFileID, b.ErrorFileID} {
		for line := range strings.Lines(h.content(f)) {
			line = strings.TrimSuffix(line, "\n")
			_, rest, _ := strings.Cut(line, `"custom_id":"`)
			name, _, _ := strings.Cut(rest, `"`)
			results[name] = line
		}
	}
	requests := strings.Split(batchtest.Input(n), "\n")
	for _, i := range []int{0, 1, 62, 63, 64, 65, 300, n - 1} {
		d, err := h.Engine.Line(t.Context(), tenant, id, i+1)
		if err != nil {
			t.Fatal(err)
		}
		if string(d.Input) != requests[i] || string(d.Result) != results[batchtest.CustomID(i)] || d.Number != i+1 {
			t.Errorf("line %d: %s, %.200s", i+1, d.Input, d.Result)
		}
	}
	for _, number := range []int{-1, 0, n + 1} {
		if _, err := h.Engine.Line(t.Context(), tenant, id, number); !errors.Is(err, batch.ErrNotFound) {
			t.Errorf("line %d: %v", number, err)
		}
	}
	if files, _, err := h.Store.Files(t.Context(), tenant, batch.FileQuery{Limit: 100}); err != nil || len(files) != 3 {
		t.Errorf("clients see %d files, want input, output and errors: %v", len(files), err)
	}
}

// Lines of a batch that was cancelled, before its validation or later.
func TestLinesThatNeverRan(t *testing.T) {
	t.Parallel()
	h := newHarness(t, batch.Config{MaxInFlight: 20})
	h.Pool.Answer, _ = batchtest.First(30)
	h.Open()
	id := h.Create(h.Upload(batchtest.Input(150)))
	h.WaitCounted(id, 30)
	d, err := h.Engine.Line(t.Context(), tenant, id, 150)
	if err != nil || d.State != engine.LinePending || d.Result != nil || d.CustomID != batchtest.CustomID(149) {
		t.Errorf("%+v, %v", d, err)
	}
	if _, err := h.Engine.CancelBatch(t.Context(), tenant, id); err != nil {
		t.Fatal(err)
	}
	h.Wait(id)
	lines := h.allLines(t, id, engine.LineQuery{Limit: 100, State: engine.LinePending})
	if len(lines) != 120 || lines[0].Message == "" || lines[0].Attempts != 0 {
		t.Errorf("%d lines, %+v", len(lines), lines[0])
	}
	if d, err = h.Engine.Line(t.Context(), tenant, id, 150); err != nil || !strings.Contains(string(d.Result), "batch_cancelled") {
		t.Errorf("%+v, %v", d, err)
	}

	h.Pool.Set(func() { h.Pool.Discovered, h.Pool.Models = false, nil }) // validation waits
	early := h.Create(h.Upload(batchtest.Input(70)))
	if page, err := h.Engine.Lines(t.Context(), tenant, early, engine.LineQuery{Limit: 10}); err != nil || len(page.Lines) > 0 || page.More {
		t.Errorf("while it validates: %+v, %v", page, err)
	}
	if _, err := h.Engine.CancelBatch(t.Context(), tenant, early); err != nil {
		t.Fatal(err)
	}
	h.Pool.Set(func() { h.Pool.Discovered, h.Pool.Models = true, map[string]bool{"m": true} })
	h.Wait(early)
	checkLines(t, "cancelled early", h.allLines(t, early, engine.LineQuery{Limit: 50}), 70, func(int) bool { return true })
	failed := h.Wait(h.Create(h.Upload(`{"custom_id":1}`)))
	if page, err := h.Engine.Lines(t.Context(), tenant, failed.ID, engine.LineQuery{Limit: 10}); err != nil || len(page.Lines) > 0 || page.More {
		t.Errorf("failed: %+v, %v", page, err)
	}
	if _, err := h.Engine.Lines(t.Context(), "other", id, engine.LineQuery{}); !errors.Is(err, batch.ErrNotFound) {
		t.Errorf("another tenant's: %v", err)
	}
}
