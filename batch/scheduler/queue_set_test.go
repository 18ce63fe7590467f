package scheduler

import (
	"math"
	"strconv"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/tidegate/tidegate/batch"
	"github.com/tidegate/tidegate/batch/scheduler/order"
	"github.com/tidegate/tidegate/internal/openai"
)

func TestFirst(t *testing.T) {
	for name, tt := range map[string]struct {
		queues      []batchQueue
		priority, n int
	}{
		"none":                         {},
		"all of one priority":          {[]batchQueue{{}, {}, {}}, 0, 3},
		"some of a higher one":         {[]batchQueue{{batch: batch.Batch{Priority: 2}}, {}, {batch: batch.Batch{Priority: 2}}}, 2, 2},
		"all negative":                 {[]batchQueue{{batch: batch.Batch{Priority: -7}}, {batch: batch.Batch{Priority: -9}}}, -7, 1},
		"some that load nothing":       {[]batchQueue{{batch: batch.Batch{Priority: 9}, state: paused}, {batch: batch.Batch{Priority: 8}, state: retiring}, {}}, 0, 1},
		"one that was paused retiring": {[]batchQueue{{batch: batch.Batch{Priority: 9}, state: pausedRetiring}, {}}, 0, 1},
	} {
		s := newQueueSet(unlimited)
		for i := range tt.queues {
			s.byID[strconv.Itoa(i)] = &tt.queues[i]
		}
		if priority, n := s.first(); priority != tt.priority || n != tt.n {
			t.Errorf("%s: got %d of priority %d, want %d of %d", name, n, priority, tt.n, tt.priority)
		}
	}
}

// unlimited is no memory limit.
func unlimited() int64 { return math.MaxInt64 }

// loadedSlice adds a slice of n lines, each with a request of size bytes, to a batch queue
// of its batch.
func loadedSlice(s *queueSet, id string, number, n, size int) *work {
	return addSlice(s, id, number, n, func(w *work, i int) *line {
		return newLine(w, i, openai.Request{Model: "m", Body: make([]byte, size)})
	})
}

// addSlice adds a slice of n lines to a batch queue of its batch.
func addSlice(s *queueSet, id string, number, n int, read func(w *work, index int) *line) *work {
	q := s.byID[id]
	if q == nil {
		q = newBatchQueue(batch.Batch{ID: id, Model: "m"})
		s.byID[id] = q
	}
	w := &work{batchQueue: q, left: n}
	w.SliceClaim = batch.SliceClaim{SliceRef: batch.SliceRef{BatchID: id, Number: number}, Attempt: 1}
	for i := range n {
		w.lines = append(w.lines, read(w, i))
	}
	s.add(q, w)
	return w
}

// run marks a line as running and counts how often it is aborted.
func run(l *line, aborted *int) {
	l.work.batchQueue.pop(l.lane(), order.Server{})
	l.become(lineRunning)
	l.tries().abort = func() { *aborted++ }
	l.work.batchQueue.begin("m", 1)
}

// failOnce makes a line that can start one that has failed before.
func failOnce(l *line) {
	l.become(lineRunning)
	l.tries().failures = 1
	l.become(linePending)
}

// Memory of requests is accounted for from the load of a slice until its last line is
// durable or the slice is dropped.
func TestQueueSetMemory(t *testing.T) {
	s := newQueueSet(unlimited)
	one, two := loadedSlice(s, "a", 1, 3, 100), loadedSlice(s, "a", 2, 2, 10)
	q := s.byID["a"]
	if s.budget.used.bytes() != 320 || q.nPending != 5 || s.held() != 5 {
		t.Fatalf("after the loads: got %d bytes, %d pending, %d held, want 320, 5, 5", s.budget.used.bytes(), q.nPending, s.held())
	}
	aborted := 0
	run(one.lines[0], &aborted)
	if last := s.committed(one.lines[0]); last || s.budget.used.bytes() != 220 {
		t.Errorf("after a commit: got last %v, %d bytes, want false, 220", last, s.budget.used.bytes())
	}
	run(one.lines[1], &aborted)
	s.dropWork(one)
	if s.budget.used.bytes() != 20 || q.nPending != 2 || aborted != 1 {
		t.Errorf("after the slice was dropped: got %d bytes, %d pending, %d aborted, want 20, 2, 1", s.budget.used.bytes(), q.nPending, aborted)
	}
	if last := s.committed(one.lines[1]); last || s.budget.used.bytes() != 20 {
		t.Errorf("a commit after that: got last %v, %d bytes, want false, 20", last, s.budget.used.bytes())
	}
	for i, l := range two.lines {
		run(l, &aborted)
		if last, want := s.committed(l), i == 1; last != want {
			t.Errorf("line %d: got last %v, want %v", i, last, want)
		}
	}
	s.end(two)
	if s.budget.used.bytes() != 0 || len(q.work) != 0 || !q.empty() {
		t.Errorf("at the end: got %d bytes, %d slices, empty %v, want none", s.budget.used.bytes(), len(q.work), q.empty())
	}
}

func TestStarves(t *testing.T) {
	small, large := claimed{Slice: batch.Slice{}}, claimed{}
	small.Length, large.Length = 50, 500
	for name, tt := range map[string]struct {
		lines, size int
		unread      []claimed
		want        bool
	}{
		"nothing in memory":              {0, 0, []claimed{large}, false},
		"below the limit":                {1, 100, nil, false},
		"at the limit":                   {2, 100, nil, true},
		"the next slice fits":            {1, 100, []claimed{small}, false},
		"the next slice does not fit":    {1, 100, []claimed{large}, true},
		"the first slice is always read": {0, 0, []claimed{large, small}, false},
	} {
		s := newQueueSet(func() int64 { return 200 })
		q := newBatchQueue(batch.Batch{ID: "a"})
		s.byID["a"] = q
		if tt.lines > 0 {
			loadedSlice(s, "a", 1, tt.lines, tt.size)
		}
		q.unread = tt.unread
		if got := s.budget.starves(q); got != tt.want {
			t.Errorf("%s: got %v, want %v", name, got, tt.want)
		}
	}
}

// A batch queue whose turn is over is still retiring after a pause.
func TestQueueState(t *testing.T) {
	var q batchQueue
	var got []queueState
	for _, change := range []func(){q.pause, q.pause, q.resume, q.resume, q.retire, q.pause, q.pause, q.resume, q.resume, q.serve} {
		change()
		got = append(got, q.state)
	}
	want := []queueState{paused, paused, serving, serving, retiring, pausedRetiring, pausedRetiring, retiring, retiring, serving}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("states (-want +got):\n%s", diff)
	}
}

// A line that was withdrawn while it waited for its retry does not come back.
func TestRetry(t *testing.T) {
	s := newQueueSet(unlimited)
	w := loadedSlice(s, "a", 1, 3, 1)
	q := w.batchQueue
	aborted := 0
	for _, l := range w.lines[:2] {
		run(l, &aborted)
		q.backOff(l)
	}
	q.withdraw(w.lines[:1])
	q.retry(w.lines[0], false)
	q.retry(w.lines[1], false)
	if q.backingOff != 0 || q.nPending != 2 {
		t.Errorf("got %d lines in backoff, %d pending, want 0, 2", q.backingOff, q.nPending)
	}
	if got, want := q.pop(w.lines[1].lane(), order.Server{}), w.lines[1]; got != want {
		t.Errorf("next line: got %d, want the retried one, %d", got.index, want.index)
	}
}
