package scheduler

import (
	"container/heap"
	"time"
)

// deadlines holds what the loop does later, the earliest first. One timer of the loop
// fires at the earliest of them.
type deadlines struct {
	waiting deadlineHeap
	added   int // numbers deadlines, so that those of one time run in order
}

// deadline is a function and the time from which the loop may run it.
type deadline struct {
	at     time.Time
	number int
	run    func() // nil if the loop has only to look for work
}

// at makes the loop run f as soon as t is reached. A nil f makes it look for work.
func (d *deadlines) at(t time.Time, f func()) {
	d.added++
	heap.Push(&d.waiting, deadline{at: t, number: d.added, run: f})
}

// run runs the functions that are due, the earliest first.
func (d *deadlines) run(now time.Time) {
	for len(d.waiting) > 0 && !d.waiting[0].at.After(now) {
		if due := heap.Pop(&d.waiting).(deadline); due.run != nil {
			due.run()
		}
	}
}

// idleWait is the time for which the loop waits if there is no deadline.
const idleWait = time.Hour

// wait returns how long it is until the earliest deadline.
func (d *deadlines) wait(now time.Time) time.Duration {
	if len(d.waiting) == 0 {
		return idleWait
	}
	return max(0, d.waiting[0].at.Sub(now))
}

// deadlineHeap implements heap.Interface.
type deadlineHeap []deadline

func (h deadlineHeap) Len() int { return len(h) }

func (h deadlineHeap) Less(i, j int) bool {
	if !h[i].at.Equal(h[j].at) {
		return h[i].at.Before(h[j].at)
	}
	return h[i].number < h[j].number
}

func (h deadlineHeap) Swap(i, j int) { h[i], h[j] = h[j], h[i] }

func (h *deadlineHeap) Push(x any) { *h = append(*h, x.(deadline)) }

func (h *deadlineHeap) Pop() any {
	old := *h
	last := len(old) - 1
	d := old[last]
	old[last] = deadline{}
	*h = old[:last]
	return d
}
