package scheduler

import (
	"errors"
	"time"

	"github.com/tidegate/tidegate/batch"
)

// picker decides which line starts next and on which upstream. This is the only place
// that decides it: choose returns the batch and the lane, Dispatcher.Reserve the upstream,
// and order.Queue the line of the lane that this upstream gets.
type picker struct {
	queues     *queueSet
	dispatcher batch.Dispatcher
	limits     *clientLimits
	gateways   func() int // that work on batches of the store
	speeds     speeds
	running    shares // lines that have a slot, by tenant
	suspect    *line  // the suspicious line that runs; nil if none does
	// refused are the lanes whose next lines wait for a faster upstream, in this round.
	refused map[queueLane]bool
}

func newPicker(deps *Dependencies, queues *queueSet, limits *clientLimits) *picker {
	return &picker{
		queues: queues, dispatcher: deps.Dispatcher, limits: limits, gateways: deps.Gateways,
		speeds: make(speeds), running: shares{deps: deps}, refused: make(map[queueLane]bool),
	}
}

// queueLane is a lane of a batch queue.
type queueLane struct {
	queue *batchQueue
	lane  lane
}

// next removes the line that starts next from its batch queue, and returns it with its
// slot; nil if no line can start. It adds the models without a slot to full, and calls
// unroutable for those without an upstream.
func (p *picker) next(full map[string]bool, unroutable func(model string, why error)) (*line, batch.Slot) {
	for {
		q, lane := p.choose(full)
		if q == nil {
			return nil, nil
		}
		if !p.limits.admit(&q.batch) {
			continue // choose skips the client
		}
		avoid := ""
		if l := q.peek(lane); l != nil {
			if !p.hasRoom(q, lane, l.reads()) {
				continue // choose skips the lane
			}
			if l.attempts != nil {
				avoid = l.attempts.avoid
			}
		} else if !p.hasRoom(q, lane, q.willRead()) {
			continue
		}
		fit := p.fitOf(q, lane)
		slot, err := p.dispatcher.Reserve(lane.model, avoid, fit.fits)
		if err == nil {
			l := q.pop(lane, fit.server(slot.Upstream()))
			if p.hasRoom(q, lane, l.reads()) && p.limits.take(l) {
				return l, slot
			}
			q.pushFront(l)
			slot.Release()
			continue // choose skips the lane, or the client
		}
		if fit.refused && errors.Is(err, batch.ErrBusy) {
			p.refused[queueLane{q, lane}] = true
			continue
		}
		full[lane.model] = true
		if !errors.Is(err, batch.ErrBusy) {
			unroutable(lane.model, err)
		}
	}
}

// hasRoom reports whether a request that is to be read fits into memory. If it does not, the
// lane starts nothing in this round. Such requests leave a part of the memory to loads, so that
// there are always lines to choose from, and all of it to batches that have no line to start and
// are as urgent. A batch can always run one line, and as much as a slice.
func (p *picker) hasRoom(q *batchQueue, lane lane, reads int64) bool {
	b := &p.queues.budget
	if b.guarantees(q, reads) || b.fits(reads) && !p.starves(q) {
		return true
	}
	q.noRoom = reads > b.requests() // else it will soon be known what a load has added
	p.refused[queueLane{q, lane}] = true
	return false
}

// starves reports whether a batch that is as urgent as another has nothing to start because the
// memory is used up.
func (p *picker) starves(by *batchQueue) bool {
	for _, q := range p.queues.byID {
		if q != by && q.state == serving && q.batch.Priority >= by.batch.Priority && q.nPending == 0 && (len(q.unread) > 0 || !q.exhausted) && p.queues.budget.starves(q) {
			return true
		}
	}
	return false
}

// choose returns the batch queue and the lane whose line starts next, of those whose
// model is not full and that were not refused; nil if there is none.
func (p *picker) choose(full map[string]bool) (*batchQueue, lane) {
	var best *batchQueue
	var bestLane lane
	now := time.Now()
	for _, q := range p.queues.byID {
		if q.nPending == 0 || q.isPaused() || q.outage.holds(now) || best != nil && !p.before(q, best) || p.limits.waits(&q.batch) {
			continue
		}
		for lane := range q.pending {
			if !full[lane.model] && !p.refused[queueLane{q, lane}] && (!lane.suspect || p.suspect == nil) {
				best, bestLane = q, lane
				break
			}
		}
	}
	return best, bestLane
}

// beginRound counts the running lines of tenants, and forgets what the last round refused.
// While lines start, a refused lane remains so: less of its batch is left.
func (p *picker) beginRound() {
	clear(p.refused)
	for _, q := range p.queues.byID {
		q.noRoom = false
	}
	p.running.count(p.queues, func(q *batchQueue) int { return q.running })
}

// before reports whether lines of a batch queue start before those of another: of the
// tenant with the smaller share first, and then by batchQueue.before.
func (p *picker) before(q, other *batchQueue) bool {
	if c := p.running.compare(q.batch.Tenant, other.batch.Tenant); c != 0 {
		return c < 0
	}
	return q.before(other)
}

// before reports whether lines of a batch queue start before those of another: by
// priority, then fewest running lines, then deadline and age.
func (q *batchQueue) before(other *batchQueue) bool {
	switch {
	case q.batch.Priority != other.batch.Priority:
		return q.batch.Priority > other.batch.Priority
	case q.running != other.running:
		return q.running < other.running
	case !q.batch.ExpiresAt.Equal(other.batch.ExpiresAt):
		return q.batch.ExpiresAt.Before(other.batch.ExpiresAt)
	default:
		return q.batch.ID < other.batch.ID
	}
}

// started records that a line runs on an upstream.
func (p *picker) started(l *line, upstream string) {
	q := l.work.batchQueue
	p.running.add(q.batch.Tenant, 1)
	q.runOn(seat{l.model, upstream}, 1, float64(l.expected))
	q.startedAt = time.Now()
	if l.suspicious() {
		p.suspect = l
	}
}

// ended records that an attempt has ended.
func (p *picker) ended(l *line, out *outcome) {
	q, at := l.work.batchQueue, seat{l.model, out.upstream}
	q.runOn(at, -1, -float64(l.expected))
	if out.done && !out.result.Failed {
		tokens := int(max(1, out.result.Usage.OutputTokens)) // other endpoints generate none
		p.speeds.learn(at, out.result.Duration, tokens)
		if lines := q.orders[lane{model: l.model}]; lines != nil {
			lines.Learn(l.profile, tokens)
		}
	}
	if p.suspect == l {
		p.suspect = nil
	}
}
