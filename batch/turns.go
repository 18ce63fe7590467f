package batch

import (
	"cmp"
	"slices"
	"sort"
	"time"
)

// Turns: a batch gives up its feed when one of a larger priority waits, after so
// many slices when one of its own does, and for any other when all that is left
// of it runs already. When nobody waits it goes on.
const turnSlices = 4

// restTime is how long a batch in which nothing was to be claimed, or whose
// load failed, is left alone.
const restTime = time.Second

// seats are the places of batches that are served.
type seats struct {
	taken   int
	aside   int             // of taken, by feeds of which nothing can start, or of a crowded model
	clogged map[string]bool // models that these wait for, "" for a batch of several
}

// endTurns drops feeds that are over, and counts those that are not.
func (r *Scheduler) endTurns(now time.Time) seats {
	s := seats{clogged: make(map[string]bool)}
	for model := range r.crowded {
		if r.crowdedLong(model, now) {
			s.clogged[model] = true
		}
	}
	for id, f := range r.feeds {
		r.unload(f, now)
		if f.empty() && (f.retiring || f.paused || now.Before(r.rest[id])) {
			delete(r.feeds, id)
			if _, active := r.active[id]; active {
				r.lineUp(id)
			}
			continue
		}
		if f.retiring || f.paused {
			continue
		}
		s.taken++
		stuck := f.stuckLong(now)
		if stuck {
			s.clogged[f.batch.Model] = true
			for lane := range f.pending {
				s.clogged[lane.model] = true
			}
		}
		if stuck || r.crowdedLong(f.batch.Model, now) {
			s.aside++
		}
	}
	return s
}

// giveTurns gives feeds to batches whose turn it is. A batch has the place of
// one that is set aside if it is not to wait for the same.
func (r *Scheduler) giveTurns(s *seats, now time.Time) {
	most := r.deps.Config().MaxConcurrentBatches
	if s.taken-s.aside >= most || now.Before(r.noneDue) || s.taken >= most && now.Before(r.noneFits) {
		return
	}
	i := 0
	for i < len(r.turns) && s.taken-s.aside < most {
		id := r.turns[i]
		if s.taken >= most && s.clogged[r.active[id].Model] || !r.due(id, now) {
			i++
			continue
		}
		r.turns = slices.Delete(r.turns, i, i+1)
		r.feeds[id] = newFeed(r.active[id])
		s.taken++
	}
	switch {
	case i == 0 || i < len(r.turns):
	case s.taken < most:
		r.noneDue = r.later(now)
	default:
		r.noneFits = r.later(now)
	}
}

// lookInterval is how long nobody looks again for a batch that could use its
// turn after none of those that wait could: they may be thousands.
const lookInterval = 100 * time.Millisecond

func (r *Scheduler) later(now time.Time) time.Time {
	time.AfterFunc(lookInterval, r.wake)
	return now.Add(lookInterval)
}

// lookAgain has those that wait looked through at once: something changed.
func (r *Scheduler) lookAgain() { r.noneFits, r.noneDue = time.Time{}, time.Time{} }

// lineUp has a batch wait for its turn behind all of its priority.
func (r *Scheduler) lineUp(id string) {
	priority := r.active[id].Priority
	at := sort.Search(len(r.turns), func(i int) bool { return r.active[r.turns[i]].Priority < priority })
	r.turns = slices.Insert(r.turns, at, id)
	r.lookAgain()
}

// sortTurns puts batches of larger priorities first; others stay in the order
// in which they began to wait.
func (r *Scheduler) sortTurns() {
	slices.SortStableFunc(r.turns, func(a, b string) int {
		return cmp.Compare(r.active[b].Priority, r.active[a].Priority)
	})
	r.lookAgain()
}

// due tells whether a batch that waits for its turn could use it now.
func (r *Scheduler) due(id string, now time.Time) bool {
	return r.feeds[id] == nil && !now.Before(r.rest[id]) && !r.starved[r.active[id].Model]
}

// nextOther is the first batch that waits, could use its turn and is not to wait
// for what others are set aside for; "" for none.
func (r *Scheduler) nextOther(s *seats, now time.Time) string {
	if now.Before(r.noneFits) {
		return ""
	}
	for _, id := range r.turns {
		if !s.clogged[r.active[id].Model] && r.due(id, now) {
			return id
		}
	}
	r.noneFits = r.later(now)
	return ""
}

// nextDue is the first batch that waits and could use its turn, "" for none.
func (r *Scheduler) nextDue(now time.Time) string {
	if len(r.turns) == 0 || now.Before(r.noneDue) {
		return ""
	}
	for _, id := range r.turns {
		if r.due(id, now) {
			return id
		}
	}
	r.noneDue = r.later(now)
	return ""
}

// turnOver tells whether a feed is to make room for a batch that waits.
func (r *Scheduler) turnOver(f *feed, next string) bool {
	waiting := r.active[next].Priority
	return waiting > f.batch.Priority || waiting == f.batch.Priority && f.loads >= turnSlices || f.allRuns()
}

// takeTurns ends the turns that are over while all seats are taken and another
// batch waits that could have the place, and lets batches go on when there are
// seats that nobody waits for.
func (r *Scheduler) takeTurns(s *seats, now time.Time) {
	most := r.deps.Config().MaxConcurrentBatches
	next, other := "", ""
	if s.taken >= most {
		next = r.nextDue(now)
		other = next
		if next != "" && s.clogged[r.active[next].Model] {
			other = r.nextOther(s, now)
		}
	}
	for _, f := range r.feeds {
		follower := next
		if !s.clogged[f.batch.Model] { // one that is to wait for others would not have its place
			follower = other
		}
		switch {
		case f.paused || f.loading || r.starved[f.batch.Model] && f.nPending > 0:
		case f.retiring && s.taken < most:
			f.retiring, f.loads = false, 0
			s.taken++
		case !f.retiring && follower != "" && r.turnOver(f, follower):
			f.retiring = true
			r.wake() // for the next
		}
	}
}
