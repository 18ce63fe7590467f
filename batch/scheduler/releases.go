package scheduler

import (
	"maps"
	"slices"
	"time"

	"github.com/tidegate/tidegate/batch"
)

// releases collects the claims on slices that this gateway does not run, for another
// gateway or for later.
type releases struct {
	queues  *queueSet
	pending pendingReleases
}

// all is no limit of lines that stay: every slice without a kept line is released.
const all = -1

// idle releases the slices of a batch queue that have no line under way.
func (r *releases) idle(q *batchQueue) {
	r.except(q, func(w *work) bool { return w.underWay > 0 }, all)
}

// spare releases the slices of a batch queue without a line that was tried, while at least ahead
// lines wait for their start: the retries of lines are counted here. If lines share prefixes,
// nearly every slice soon has such a line, so that of these slices it keeps only these lines.
func (r *releases) spare(q *batchQueue, ahead int) {
	if q.releasable[slicesUntried] > 0 || len(q.unread) > 0 {
		r.except(q, func(w *work) bool { return w.tried > 0 }, ahead)
	}
	if q.releasable[slicesDivisible] > 0 && q.shares() {
		r.divide(q, ahead)
	}
}

// except releases the slices of a batch queue for which kept returns false, those that were read
// last first, while at least ahead lines wait for their start.
func (r *releases) except(q *batchQueue, kept func(*work) bool, ahead int) {
	var dropped []*work
	waiting := q.nPending
	for _, key := range slices.Backward(slices.SortedFunc(maps.Keys(q.work), claimKey.compare)) {
		if waiting <= ahead {
			break
		}
		w := q.work[key]
		if w.dropped || kept(w) {
			continue
		}
		if waiting -= w.pending; waiting < ahead {
			break // the rest would have to be claimed again at once
		}
		r.pending.add(wholeSlice(&w.claimed))
		dropped = append(dropped, w)
	}
	r.queues.dropWork(dropped...)
	for _, c := range q.unread {
		r.pending.add(wholeSlice(&c))
	}
	q.unread = nil
}

// unstarted releases what is not under way in a batch queue of a gateway that stops. Of
// slices with lines under way it keeps only these, so that peers can run the others now.
func (r *releases) unstarted(q *batchQueue) {
	r.idle(q)
	for _, w := range q.work {
		r.partial(w, (*line).underWay)
	}
	q.sweep()
}

// divide releases the other lines of slices that have lines that were tried, those that were
// read last first, while at least ahead lines wait for their start.
func (r *releases) divide(q *batchQueue, ahead int) {
	waiting, before := q.nPending, len(r.pending.waiting)
	for _, key := range slices.Backward(slices.SortedFunc(maps.Keys(q.work), claimKey.compare)) {
		w := q.work[key]
		if w.releasable != slicesDivisible {
			continue
		}
		if waiting <= ahead || waiting-w.pending < ahead {
			break
		}
		waiting -= r.partial(w, (*line).tried)
	}
	if len(r.pending.waiting) > before {
		q.sweep()
	}
}

// partial releases the lines of a slice except those for which kept returns true, and returns
// how many of these waited for their start. A slice with lines that a gateway keeps is not
// divided again. The lines that were withdrawn are to be swept.
func (r *releases) partial(w *work, kept func(*line) bool) (waited int) {
	if w.Kept != 0 || w.partial {
		return 0
	}
	keep := uint64(0)
	var begun, others []*line
	for _, l := range w.lines {
		switch {
		case kept(l) && l.state != lineEnded:
			begun = append(begun, l)
			keep |= 1 << l.index
		case l.state != lineEnded:
			others = append(others, l)
		}
	}
	if len(begun) == 0 || len(others) == 0 {
		return 0
	}
	waited = w.pending
	w.batchQueue.withdraw(others)
	for _, l := range others {
		r.queues.free(l)
	}
	w.batchQueue.left -= int64(w.left - len(begun))
	w.lines, w.left, w.partial = begun, len(begun), true
	w.batchQueue.classify(w)
	r.pending.add(release{Release: batch.Release{SliceClaim: w.SliceClaim, Keep: keep}, divided: w})
	return waited - w.pending
}

// unroutable releases what a stalled batch queue holds of models without an upstream, and
// reports whether that was anything. Slices with a line that was tried are kept, because
// which retries are used up is known only here.
func (r *releases) unroutable(q *batchQueue, m *models, now time.Time) bool {
	if !q.stalled.lasted(stallTime, now) || q.nPending == 0 {
		return false
	}
	for lane := range q.pending {
		if !m.unroutable[lane.model] {
			return false // a slot will come
		}
	}
	before := len(r.pending.waiting)
	r.spare(q, all)
	return len(r.pending.waiting) > before
}
