package scheduler

import (
	"cmp"
	"slices"
	"sort"
	"time"

	"github.com/tidegate/tidegate/batch"
)

const (
	// rotationSlices is the number of slices that a batch loads before it yields its place
	// to a waiting batch of the same priority. It yields at once to a batch of a higher
	// priority, and to any batch when all of its remaining lines run or while its input cannot
	// be read. It continues when no batch waits.
	rotationSlices = 4
	// batchBackoff is the pause of a batch that had nothing to claim, or whose load failed.
	batchBackoff = time.Second
	// rotationRetry is the pause between two searches for a batch that can use its turn,
	// if none could: thousands may wait.
	rotationRetry = 100 * time.Millisecond
)

// rotation decides which batches have a place, that is a batch queue, and which wait.
type rotation struct {
	deps         *Dependencies
	deadlines    *deadlines
	wake         func()
	queues       *queueSet
	models       *models
	limits       *clientLimits
	turns        turns
	several      bool                   // active batches are of several tenants
	places       shares                 // by tenant, of batch queues that are served
	settled      bool                   // a turn has ended since these were counted
	active       map[string]batch.Batch // in progress and not paused, by the last refresh
	waiting      []string               // active batches without a batch queue, the next first
	backoffUntil map[string]time.Time   // batches that are not served until then

	// A search that found no batch is not repeated before these times:
	noneFits time.Time // for a batch that does not wait for a clogged model
	noneDue  time.Time // for any batch
}

// places counts the places that are taken.
type places struct {
	taken   int
	aside   int             // of taken, by stalled batch queues, those of a saturated model and those of clients that have reached a limit
	clogged map[string]bool // models that these wait for, "" for a batch of several
}

// refreshed handles the active batches that are not paused, the most urgent first.
func (r *rotation) refreshed(batches []batch.Batch, active map[string]batch.Batch) {
	gone := func(id string) bool { _, still := active[id]; return !still }
	r.waiting = slices.DeleteFunc(r.waiting, gone)
	for _, b := range batches {
		q := r.queues.byID[b.ID]
		if q != nil {
			q.batch = b
			q.resume()
		}
		if _, known := r.active[b.ID]; !known && q == nil {
			r.waiting = append(r.waiting, b.ID)
		}
	}
	for id := range r.active {
		if gone(id) {
			r.forget(id)
		}
	}
	r.active = active
	tenants := make(map[string]bool)
	for _, b := range active {
		tenants[b.Tenant] = true
	}
	r.several = len(tenants) > 1
	r.turns.retain(tenants)
	r.sort()
}

// remove removes a batch that is not active any more.
func (r *rotation) remove(id string) {
	delete(r.active, id)
	r.forget(id)
	r.waiting = slices.DeleteFunc(r.waiting, func(other string) bool { return other == id })
}

// forget drops what is kept of a batch besides its place.
func (r *rotation) forget(id string) {
	delete(r.backoffUntil, id)
	r.deps.Health.NoteBatch(id, "", nil)
}

// backOff stops loading slices of a batch for batchBackoff.
func (r *rotation) backOff(id string, now time.Time) {
	r.backoffUntil[id] = now.Add(batchBackoff)
	r.deadlines.at(r.backoffUntil[id], nil)
}

// backsOff reports whether no slices of a batch are loaded now.
func (r *rotation) backsOff(id string, now time.Time) bool { return now.Before(r.backoffUntil[id]) }

// endTurns removes batch queues that are empty and not to be continued, and counts the
// places that others have.
func (r *rotation) endTurns(now time.Time) places {
	p := places{clogged: make(map[string]bool)}
	for model := range r.models.saturated {
		if r.models.saturatedLong(model, now) {
			p.clogged[model] = true
		}
	}
	for id, q := range r.queues.byID {
		if q.empty() && (q.state != serving || r.backsOff(id, now)) {
			delete(r.queues.byID, id)
			if _, active := r.active[id]; active {
				r.enqueue(id)
			}
			continue
		}
		if q.state != serving {
			continue
		}
		p.taken++
		if r.limits.waits(&q.batch) {
			p.aside++ // its lines use no slots that batches of other clients need
			continue
		}
		stalled := q.stalled.lasted(stallTime, now)
		if stalled {
			p.clogged[q.batch.Model] = true
			for lane := range q.pending {
				p.clogged[lane.model] = true
			}
		}
		if stalled || r.models.saturatedLong(q.batch.Model, now) {
			p.aside++
		}
	}
	return p
}

// admit assigns places to waiting batches whose turn it is. A batch can have a place in
// addition to those that are set aside if it does not wait for the same models.
func (r *rotation) admit(p *places, now time.Time) {
	most := r.deps.Config().MaxConcurrentBatches
	if p.taken-p.aside >= most || now.Before(r.noneDue) || p.taken >= most && now.Before(r.noneFits) {
		return
	}
	i := 0
	for i < len(r.waiting) && p.taken-p.aside < most {
		id := r.waiting[i]
		if p.taken >= most && p.clogged[r.active[id].Model] || !r.due(id, now) {
			i++
			continue
		}
		r.waiting = slices.Delete(r.waiting, i, i+1)
		r.queues.byID[id] = newBatchQueue(r.active[id])
		r.turns.take(r.active[id].Tenant)
		p.taken++
	}
	switch {
	case i == 0 || i < len(r.waiting):
	case p.taken < most:
		r.noneDue = r.later(now)
	default:
		r.noneFits = r.later(now)
	}
}

// later returns when waiting batches are searched again.
func (r *rotation) later(now time.Time) time.Time {
	at := now.Add(rotationRetry)
	r.deadlines.at(at, nil)
	return at
}

// retry makes the next search of waiting batches start at once, because something changed.
func (r *rotation) retry() { r.noneFits, r.noneDue = time.Time{}, time.Time{} }

// enqueue makes a batch wait for its turn behind those of its tenant and priority.
func (r *rotation) enqueue(id string) {
	if r.several {
		r.waiting = append(r.waiting, id)
		r.sort()
		return
	}
	priority := r.active[id].Priority
	at := sort.Search(len(r.waiting), func(i int) bool { return r.active[r.waiting[i]].Priority < priority })
	r.waiting = slices.Insert(r.waiting, at, id)
	r.retry()
}

// sort puts batches of higher priorities first, and keeps the order of the others. Those
// of several tenants are interleaved by their turns.
func (r *rotation) sort() {
	slices.SortStableFunc(r.waiting, func(a, b string) int {
		return cmp.Compare(r.active[b].Priority, r.active[a].Priority)
	})
	if r.several {
		r.turns.interleave(r.waiting, func(id string) string { return r.active[id].Tenant })
	}
	r.retry()
}

// due reports whether a waiting batch can use its turn now.
func (r *rotation) due(id string, now time.Time) bool {
	b := r.active[id]
	return r.queues.byID[id] == nil && !r.backsOff(id, now) && !r.models.unroutable[b.Model] && !r.limits.waits(&b)
}

// nextOther returns the first waiting batch that can use its turn and does not wait for
// the models of those that are set aside; "" for none.
func (r *rotation) nextOther(p *places, now time.Time) string {
	if now.Before(r.noneFits) {
		return ""
	}
	for _, id := range r.waiting {
		if !p.clogged[r.active[id].Model] && r.due(id, now) {
			return id
		}
	}
	r.noneFits = r.later(now)
	return ""
}

// nextDue returns the first waiting batch that can use its turn; "" for none.
func (r *rotation) nextDue(now time.Time) string {
	if len(r.waiting) == 0 || now.Before(r.noneDue) {
		return ""
	}
	for _, id := range r.waiting {
		if r.due(id, now) {
			return id
		}
	}
	r.noneDue = r.later(now)
	return ""
}

// yields reports whether a batch queue yields its place to a waiting batch.
func (r *rotation) yields(q *batchQueue, next string) bool {
	waiting := r.active[next].Priority
	if q.outage.err != nil {
		return true
	}
	if r.active[next].Tenant != q.batch.Tenant {
		return q.loads >= rotationSlices || q.allRuns() || r.owes(q.batch.Tenant, r.active[next].Tenant)
	}
	return waiting > q.batch.Priority || waiting == q.batch.Priority && q.loads >= rotationSlices || q.allRuns()
}

// owes reports whether a tenant has more places than its share, and another one would still
// have fewer with one more.
func (r *rotation) owes(tenant, other string) bool {
	return !r.settled && float64(r.places.of[tenant])/r.deps.weight(tenant) > r.places.next(other)
}

// countPlaces counts the places of tenants.
func (r *rotation) countPlaces() {
	r.settled = false
	r.places.count(r.queues, func(q *batchQueue) int {
		if q.state == serving {
			return 1
		}
		return -1
	})
}

// rotate ends turns while all places are taken and a waiting batch can have the place, and
// begins another turn of retiring batches while places are free.
func (r *rotation) rotate(p *places, now time.Time) {
	most := r.deps.Config().MaxConcurrentBatches
	next, other := "", ""
	if p.taken >= most {
		next = r.nextDue(now)
		other = next
		if next != "" && p.clogged[r.active[next].Model] {
			other = r.nextOther(p, now)
		}
	}
	if r.several && next != "" {
		r.countPlaces()
	}
	for _, q := range r.queues.byID {
		follower := next
		if !p.clogged[q.batch.Model] { // a batch of a clogged model would not get its place
			follower = other
		}
		switch {
		case q.isPaused() || q.loading || r.models.unroutable[q.batch.Model] && q.nPending > 0:
		case q.isRetiring() && p.taken < most:
			q.serve()
			p.taken++
		case !q.isRetiring() && follower != "" && r.yields(q, follower):
			q.retire()
			r.settled = true // one place for one batch
			r.wake()         // for the next
		}
	}
}

// newRotation returns a rotation without batches.
func newRotation(deps *Dependencies, queues *queueSet, models *models, limits *clientLimits, deadlines *deadlines, wake func()) *rotation {
	return &rotation{
		deps: deps, queues: queues, models: models, limits: limits, deadlines: deadlines, wake: wake,
		turns: turns{deps: deps, next: make(map[string]float64)}, places: shares{deps: deps},
		active: make(map[string]batch.Batch), backoffUntil: make(map[string]time.Time),
	}
}
