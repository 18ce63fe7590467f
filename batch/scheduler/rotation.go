package scheduler

import (
	"cmp"
	"slices"
	"sort"
	"time"
)

// rotationSlices is how many slices a batch loads before it yields its place to a waiting
// batch of the same priority. It yields at once to a batch of a larger priority, and to any
// batch when all that is left of it runs. It goes on when no batch waits.
const rotationSlices = 4

// batchBackoff is how long a batch in which nothing was to be claimed, or whose
// load failed, is left alone.
const batchBackoff = time.Second

// places are the places of batches that are served.
type places struct {
	taken   int
	aside   int             // of taken, by batch queues of which nothing can start, or of a saturated model
	clogged map[string]bool // models that these wait for, "" for a batch of several
}

// endRotation drops batch queues that are over, and counts those that are not.
func (r *Scheduler) endRotation(now time.Time) places {
	s := places{clogged: make(map[string]bool)}
	for model := range r.saturated {
		if r.saturatedLong(model, now) {
			s.clogged[model] = true
		}
	}
	for id, f := range r.queues {
		r.releaseUnroutable(f, now)
		if f.empty() && (f.retiring || f.paused || now.Before(r.backoffUntil[id])) {
			delete(r.queues, id)
			if _, active := r.active[id]; active {
				r.enqueue(id)
			}
			continue
		}
		if f.retiring || f.paused {
			continue
		}
		s.taken++
		stalled := f.stalledLong(now)
		if stalled {
			s.clogged[f.batch.Model] = true
			for lane := range f.pending {
				s.clogged[lane.model] = true
			}
		}
		if stalled || r.saturatedLong(f.batch.Model, now) {
			s.aside++
		}
	}
	return s
}

// admitWaiting gives batch queues to batches whose turn it is. A batch has the place of
// one that is set aside if it is not to wait for the same.
func (r *Scheduler) admitWaiting(s *places, now time.Time) {
	most := r.deps.Config().MaxConcurrentBatches
	if s.taken-s.aside >= most || now.Before(r.noneDue) || s.taken >= most && now.Before(r.noneFits) {
		return
	}
	i := 0
	for i < len(r.rotation) && s.taken-s.aside < most {
		id := r.rotation[i]
		if s.taken >= most && s.clogged[r.active[id].Model] || !r.due(id, now) {
			i++
			continue
		}
		r.rotation = slices.Delete(r.rotation, i, i+1)
		r.queues[id] = newBatchQueue(r.active[id])
		s.taken++
	}
	switch {
	case i == 0 || i < len(r.rotation):
	case s.taken < most:
		r.noneDue = r.later(now)
	default:
		r.noneFits = r.later(now)
	}
}

// rotationRetry is how long nobody looks again for a batch that could use its
// turn after none of those that wait could: they may be thousands.
const rotationRetry = 100 * time.Millisecond

func (r *Scheduler) later(now time.Time) time.Time {
	at := now.Add(rotationRetry)
	r.deadlines.at(at, nil)
	return at
}

// retryRotation has those that wait looked through at once: something changed.
func (r *Scheduler) retryRotation() { r.noneFits, r.noneDue = time.Time{}, time.Time{} }

// enqueue has a batch wait for its turn behind all of its priority.
func (r *Scheduler) enqueue(id string) {
	priority := r.active[id].Priority
	at := sort.Search(len(r.rotation), func(i int) bool { return r.active[r.rotation[i]].Priority < priority })
	r.rotation = slices.Insert(r.rotation, at, id)
	r.retryRotation()
}

// sortRotation puts batches of larger priorities first; others stay in the order
// in which they began to wait.
func (r *Scheduler) sortRotation() {
	slices.SortStableFunc(r.rotation, func(a, b string) int {
		return cmp.Compare(r.active[b].Priority, r.active[a].Priority)
	})
	r.retryRotation()
}

// due reports whether a batch that waits for its turn could use it now.
func (r *Scheduler) due(id string, now time.Time) bool {
	return r.queues[id] == nil && !now.Before(r.backoffUntil[id]) && !r.unroutable[r.active[id].Model]
}

// nextOther is the first batch that waits, could use its turn and is not to wait
// for what others are set aside for; "" for none.
func (r *Scheduler) nextOther(s *places, now time.Time) string {
	if now.Before(r.noneFits) {
		return ""
	}
	for _, id := range r.rotation {
		if !s.clogged[r.active[id].Model] && r.due(id, now) {
			return id
		}
	}
	r.noneFits = r.later(now)
	return ""
}

// nextDue is the first batch that waits and could use its turn, "" for none.
func (r *Scheduler) nextDue(now time.Time) string {
	if len(r.rotation) == 0 || now.Before(r.noneDue) {
		return ""
	}
	for _, id := range r.rotation {
		if r.due(id, now) {
			return id
		}
	}
	r.noneDue = r.later(now)
	return ""
}

// yields reports whether a batch queue is to make room for a batch that waits.
func (r *Scheduler) yields(f *batchQueue, next string) bool {
	waiting := r.active[next].Priority
	return waiting > f.batch.Priority || waiting == f.batch.Priority && f.loads >= rotationSlices || f.allRuns()
}

// rotate ends the turns that are over while all seats are taken and another
// batch waits that could have the place, and lets batches go on when there are
// seats that nobody waits for.
func (r *Scheduler) rotate(s *places, now time.Time) {
	most := r.deps.Config().MaxConcurrentBatches
	next, other := "", ""
	if s.taken >= most {
		next = r.nextDue(now)
		other = next
		if next != "" && s.clogged[r.active[next].Model] {
			other = r.nextOther(s, now)
		}
	}
	for _, f := range r.queues {
		follower := next
		if !s.clogged[f.batch.Model] { // one that is to wait for others would not have its place
			follower = other
		}
		switch {
		case f.paused || f.loading || r.unroutable[f.batch.Model] && f.nPending > 0:
		case f.retiring && s.taken < most:
			f.retiring, f.loads = false, 0
			s.taken++
		case !f.retiring && follower != "" && r.yields(f, follower):
			f.retiring = true
			r.Wake() // for the next
		}
	}
}
