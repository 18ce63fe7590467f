package scheduler

import (
	"slices"
	"time"

	"github.com/tidegate/tidegate/batch"
)

// leases tracks when the claims on the slices of the batch queues end.
type leases struct {
	queues   *queueSet
	firstEnd time.Time // when the first lease ends; zero without a claim
	retrying bool      // a renewal that failed will be repeated
}

// mayHaveEnded reports whether a lease may have ended. Until all are renewed, no line is
// started, because a peer may run it, and nothing is claimed, because it may be our own.
func (l *leases) mayHaveEnded(now time.Time) bool {
	if l.firstEnd.IsZero() || now.Before(l.firstEnd) {
		return false
	}
	l.update() // the slice of that lease may be finished
	return !l.firstEnd.IsZero() && !now.Before(l.firstEnd)
}

// update finds out when the first lease ends.
func (l *leases) update() {
	l.firstEnd = time.Time{}
	sooner := func(until time.Time) {
		if l.firstEnd.IsZero() || until.Before(l.firstEnd) {
			l.firstEnd = until
		}
	}
	for _, q := range l.queues.byID {
		for _, w := range q.work {
			sooner(w.until)
		}
		for _, c := range q.unread {
			sooner(c.until)
		}
	}
}

// renewed records that claims hold for longer.
func (l *leases) renewed(claims []batch.SliceClaim, until time.Time) {
	for _, c := range claims {
		q := l.queues.byID[c.BatchID]
		if q == nil {
			continue
		}
		if w := q.work[keyOf(c)]; w != nil {
			w.until = until
		}
		for i, unread := range q.unread {
			if unread.SliceClaim == c {
				q.unread[i].until = until
			}
		}
	}
	l.update()
}

// lost drops slices that a peer has claimed since. It calls report for each of these
// whose lines were in memory.
func (l *leases) lost(claims []batch.SliceClaim, report func(batch.SliceClaim)) {
	var lost []*work
	for _, c := range claims {
		q := l.queues.byID[c.BatchID]
		if q == nil {
			continue
		}
		if w := q.work[keyOf(c)]; w != nil {
			report(c)
			lost = append(lost, w)
		}
		q.unread = slices.DeleteFunc(q.unread, func(unread claimed) bool { return unread.SliceClaim == c })
	}
	l.queues.dropWork(lost...)
}
