package scheduler

import (
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/tidegate/tidegate/batch"
)

// checkCounts compares what slices and their batch queue count with their lines.
func checkCounts(t *testing.T, q *batchQueue, after string) {
	t.Helper()
	var left int64
	var releasable [slicesDivisible + 1]int
	for _, w := range q.work {
		var tried, untried, pending, underWay int
		for _, l := range w.lines {
			switch {
			case l.state == lineEnded:
			case l.tried():
				tried++
			default:
				untried++
			}
			if l.state == linePending {
				pending++
			}
			if l.underWay() {
				underWay++
			}
		}
		if w.tried != tried || w.untried != untried || w.pending != pending || w.underWay != underWay {
			t.Fatalf("after %s: slice %d has %d lines tried, %d untried, %d pending and %d under way, but counts %d, %d, %d and %d", after, w.Number, tried, untried, pending, underWay, w.tried, w.untried, w.pending, w.underWay)
		}
		switch {
		case tried == 0:
			releasable[slicesUntried]++
		case untried > 0 && !w.partial && w.Kept == 0:
			releasable[slicesDivisible]++
		default:
			releasable[slicesKept]++
		}
		left += int64(w.left)
	}
	if q.releasable != releasable || q.left != left {
		t.Fatalf("after %s: the batch queue counts the slices %v with %d lines, want %v with %d", after, q.releasable, q.left, releasable, left)
	}
}

// TestCounts checks what slices and batch queues count against their lines after random events.
// It finds a change of a line that is not counted: slices would not be released to idle peers,
// or be searched in vain in each round of the loop.
func TestCounts(t *testing.T) {
	for seed := range uint64(20) {
		r := rand.New(rand.NewPCG(seed, 0))
		d := dependencies(batch.Config{})
		d.Dispatcher = &slotPool{slots: map[string]int{"m": 1 << 30}}
		s := New(d)
		q := deferredSlice(s.queues, "a", 0, 4, 1000).batchQueue
		var running, finished []*line
		remove := func(lines *[]*line) *line {
			i := r.IntN(len(*lines))
			l := (*lines)[i]
			*lines = slices.Delete(*lines, i, i+1)
			return l
		}
		counted := make(map[releasable]bool)
		for number := range 2000 {
			event := "nothing"
			switch n := r.IntN(20); {
			case n == 0 && len(q.work) < 20:
				event = "a load"
				w := deferredSlice(s.queues, "a", number+1, 2+r.IntN(6), 1000)
				if r.IntN(4) == 0 {
					w.Kept = 1 << 63
					q.classify(w)
				}
			case n < 9 && q.nPending > 0:
				event = "a start"
				if l := startNext(s); l != nil {
					running = append(running, l)
				}
			case n < 15 && len(running) > 0:
				event = "an attempt"
				l := remove(&running)
				out := []outcome{{done: true}, {done: true}, {unsent: true}, {excused: true}, {}, {unreadable: errAway}}[r.IntN(6)]
				s.attempted(l, out)
				q.outage = inputOutage{}
				if out.done {
					finished = append(finished, l)
				}
			case n < 17 && len(finished) > 0:
				event = "a commit"
				l := remove(&finished)
				if s.queues.committed(l) {
					s.queues.end(l.work)
				}
			case n == 17:
				event = "the end of the pauses"
				s.deadlines.run(time.Now().Add(time.Hour))
			case n == 18 && r.IntN(4) == 0:
				event = "a release"
				switch r.IntN(3) {
				case 0:
					s.releases.spare(q, r.IntN(100))
				case 1:
					s.releases.unstarted(q)
				case 2:
					s.releases.idle(q)
				}
			case n == 19 && r.IntN(8) == 0 && len(q.work) > 0:
				event = "the loss of a claim"
				for _, w := range q.work {
					s.queues.dropWork(w)
					break
				}
			}
			checkCounts(t, q, event)
			for class, n := range q.releasable {
				counted[releasable(class)] = counted[releasable(class)] || n > 0
			}
		}
		if len(counted) != 3 || !counted[slicesKept] || !counted[slicesUntried] || !counted[slicesDivisible] {
			t.Errorf("seed %d: got slices of the kinds %v, want all", seed, counted)
		}
	}
}
