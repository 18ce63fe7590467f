package scheduler

import (
	"slices"
	"testing"
	"time"

	"github.com/tidegate/tidegate/batch"
	"github.com/tidegate/tidegate/internal/openai"
)

func request(model string) openai.Request { return openai.Request{Model: model, Body: []byte(`{}`)} }

// released returns the numbers of the slices that were released.
func released(r *releases) (numbers []int) {
	for _, c := range r.pending.all() {
		numbers = append(numbers, c.Number)
	}
	return numbers
}

// releasesOf returns what was given up.
func releasesOf(r *releases) (given []batch.Release) {
	for _, c := range r.pending.all() {
		given = append(given, c.Release)
	}
	return given
}

func TestReleaseIdle(t *testing.T) {
	s := newQueueSet(unlimited)
	running, finished := loadedSlice(s, "a", 1, 2, 10), loadedSlice(s, "a", 2, 2, 10)
	loadedSlice(s, "a", 3, 2, 10)
	backingOff := loadedSlice(s, "a", 4, 2, 10)
	q := s.byID["a"]
	unread := claimed{}
	unread.Number = 5
	q.unread = []claimed{unread}
	aborted := 0
	run(running.lines[0], &aborted)
	finished.lines[0].become(lineFinished)
	q.backOff(backingOff.lines[0])
	r := releases{queues: s}
	r.idle(q)
	if got, want := released(&r), []int{4, 3, 5}; !slices.Equal(got, want) {
		t.Errorf("released slices: got %v, want %v", got, want)
	}
	if q.backingOff != 0 || aborted != 0 || len(q.unread) != 0 || s.budget.used.bytes() != 40 {
		t.Errorf("got %d in backoff, %d aborted, %d unread, %d bytes, want 0, 0, 0, 40", q.backingOff, aborted, len(q.unread), s.budget.used.bytes())
	}
}

// A gateway that stops keeps just the lines that are under way of a slice.
func TestReleaseUnstarted(t *testing.T) {
	s := newQueueSet(unlimited)
	w, kept := loadedSlice(s, "a", 1, 4, 10), loadedSlice(s, "a", 2, 2, 10)
	kept.Kept = 1 // a peer keeps a line: it is not divided again
	aborted := 0
	run(w.lines[0], &aborted)
	w.lines[2].become(lineFinished)
	run(kept.lines[0], &aborted)
	r := releases{queues: s}
	r.unstarted(w.batchQueue)
	got := releasesOf(&r)
	want := []batch.Release{{SliceClaim: w.SliceClaim, Keep: 1<<0 | 1<<2}}
	if !slices.Equal(got, want) {
		t.Errorf("releases: got %+v, want %+v", got, want)
	}
	if !w.partial || w.left != 2 || w.holds().bytes() != 20 || kept.partial || aborted != 0 {
		t.Errorf("got partial %v, %d left, %d bytes, other partial %v, %d aborted, want true, 2, 20, false, 0", w.partial, w.left, w.holds().bytes(), kept.partial, aborted)
	}
}

func TestRebalance(t *testing.T) {
	now := time.Now()
	for name, tt := range map[string]struct {
		idle   time.Duration // of peers; negative: they are not
		ahead  int
		memory int64 // of 256 bytes that are held
		model  string
		want   []int
	}{
		"peers are busy":              {-1, 64, 256, "m", nil},
		"not idle for long":           {peerIdleTime - 1, 64, 256, "m", nil},
		"all beyond ahead":            {peerIdleTime, 64, 256, "m", []int{4, 3, 2}},
		"not far enough beyond ahead": {peerIdleTime, 100, 256, "m", nil},
		"nothing is to be started":    {peerIdleTime, 0, 256, "m", []int{4, 3, 2, 1}},
		"more than the memory limit":  {-1, 64, 255, "m", []int{4, 3, 2}},
		"that of several models":      {-1, 64, 255, "", nil},
	} {
		s := newQueueSet(func() int64 { return tt.memory })
		for n := range 4 {
			loadedSlice(s, "a", n+1, batch.SliceLines, 1)
		}
		q := s.byID["a"]
		q.batch.Model = tt.model
		q.peersIdle.set(tt.idle >= 0, now.Add(-tt.idle))
		r := releases{queues: s}
		r.rebalance(q, tt.ahead, now)
		if got := released(&r); !slices.Equal(got, tt.want) {
			t.Errorf("%s: released slices: got %v, want %v", name, got, tt.want)
		}
	}
}

func TestPace(t *testing.T) {
	now := time.Now()
	var p pace
	p.update(now)
	for range 30 {
		p.add()
	}
	p.update(now.Add(paceTime - 1))
	if got := p.during(time.Second); got != 0 {
		t.Errorf("before paceTime: got %d lines a second, want 0", got)
	}
	p.update(now.Add(3 * paceTime))
	if got := p.during(time.Second); got != 10 {
		t.Errorf("got %d lines a second, want 10", got)
	}
	p.update(now.Add(4 * paceTime))
	if got := p.during(time.Second); got != 0 {
		t.Errorf("after a second without lines: got %d, want 0", got)
	}
}
