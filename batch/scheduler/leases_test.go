package scheduler

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tidegate/tidegate/batch"
)

func TestLeases(t *testing.T) {
	now := time.Now()
	s := newQueueSet(unlimited)
	l := leases{queues: s}
	if l.mayHaveEnded(now) {
		t.Error("without a claim: got ended, want not")
	}
	first, second := loadedSlice(s, "a", 1, 1, 1), loadedSlice(s, "b", 2, 1, 1)
	first.until, second.until = now.Add(time.Second), now.Add(2*time.Second)
	unread := claimed{until: now.Add(3 * time.Second)}
	unread.SliceClaim = batch.SliceClaim{SliceRef: batch.SliceRef{BatchID: "a", Number: 3}, Attempt: 1}
	s.byID["a"].unread = []claimed{unread}
	l.update()
	ended := func(after time.Duration, want bool) {
		t.Helper()
		if got := l.mayHaveEnded(now.Add(after)); got != want {
			t.Errorf("after %s: got ended %v, want %v", after, got, want)
		}
	}
	ended(time.Second-1, false)
	ended(time.Second, true)
	s.dropWork(first)
	ended(time.Second, false)
	ended(2*time.Second, true)
	l.renewed(s.claims(), now.Add(time.Minute))
	ended(time.Minute-1, false)
	ended(time.Minute, true)

	// A claim that was renewed and dropped since, and one of an older attempt, are ignored.
	old := second.SliceClaim
	old.Attempt--
	l.renewed([]batch.SliceClaim{first.SliceClaim, old, {SliceRef: batch.SliceRef{BatchID: "gone"}}}, now)
	ended(time.Minute-1, false)
}

func TestLostLeases(t *testing.T) {
	s := newQueueSet(unlimited)
	l := leases{queues: s}
	lost, held := loadedSlice(s, "a", 1, 2, 10), loadedSlice(s, "a", 2, 2, 10)
	q := s.byID["a"]
	aborted := 0
	run(lost.lines[0], &aborted)
	run(held.lines[0], &aborted)
	unread := claimed{}
	unread.SliceClaim = batch.SliceClaim{SliceRef: batch.SliceRef{BatchID: "a", Number: 3}, Attempt: 1}
	q.unread = []claimed{unread}
	old := held.SliceClaim
	old.Attempt--
	var reported []batch.SliceClaim
	l.lost([]batch.SliceClaim{lost.SliceClaim, old, unread.SliceClaim}, func(c batch.SliceClaim) { reported = append(reported, c) })
	if diff := cmp.Diff([]batch.SliceClaim{lost.SliceClaim}, reported); diff != "" {
		t.Errorf("reported claims (-want +got):\n%s", diff)
	}
	if aborted != 1 || !lost.dropped || held.dropped || len(q.unread) != 0 {
		t.Errorf("got %d aborted, dropped %v and %v, %d unread, want 1, true and false, 0", aborted, lost.dropped, held.dropped, len(q.unread))
	}
}
