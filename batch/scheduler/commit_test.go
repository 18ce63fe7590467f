package scheduler

import (
	"testing"

	"github.com/tidegate/tidegate/batch"
)

// TestRefusedSlicesAreDropped checks that one commit whose results are refused for several slices
// of two batches drops all of these, and no other one. It finds lines that start or remain in
// memory although their slice is another gateway's.
func TestRefusedSlicesAreDropped(t *testing.T) {
	const size, lines = 100, 3
	s := New(dependencies(batch.Config{}))
	aborted := 0
	var group []finishedLine
	var stale []batch.SliceClaim
	var wait []*line
	for _, slice := range []struct {
		id      string
		number  int
		refused bool
	}{{"a", 1, true}, {"a", 2, true}, {"a", 3, false}, {"b", 1, true}, {"b", 2, true}, {"b", 3, false}} {
		w := loadedSlice(s.queues, slice.id, slice.number, lines, size)
		for _, l := range w.lines {
			run(l, &aborted)
		}
		w.lines[0].become(lineFinished) // the second one runs
		wait = append(wait, w.lines[2])
		s.inFlight++
		group = append(group, finishedLine{line: w.lines[0], claim: w.SliceClaim})
		if slice.refused {
			stale = append(stale, w.SliceClaim)
		}
	}
	for _, l := range wait {
		l.work.batchQueue.pushFront(l)
	}
	s.committed(group, stale)
	if aborted != len(stale) || s.inFlight != 0 {
		t.Errorf("got %d lines aborted, %d in flight, want %d, 0", aborted, s.inFlight, len(stale))
	}
	for _, id := range []string{"a", "b"} {
		q := s.queues.byID[id]
		if len(q.work) != 1 || q.work[claimKey{3, 1}] == nil {
			t.Errorf("batch %s: got %d slices, want the third alone", id, len(q.work))
		}
		if q.nPending != 1 || q.left != lines-1 || q.held.bytes() != (lines-1)*size {
			t.Errorf("batch %s: got %d lines that can start, %d left with %d bytes, want 1, %d, %d", id, q.nPending, q.left, q.held.bytes(), lines-1, (lines-1)*size)
		}
	}
	if got := s.metrics.refused.Load(); got != int64(len(stale)) {
		t.Errorf("got %d refused results counted, want %d", got, len(stale))
	}
}
