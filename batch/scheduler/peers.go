package scheduler

import (
	"time"

	"github.com/tidegate/tidegate/batch"
)

// Slices that this gateway has prefetched cannot run on peers. While peers have idle
// slots, it prefetches only what it will start soon and releases the rest, so that a batch
// is spread over all gateways from its first line to its last.

const (
	// peerIdleTime is the time for which peers must have free slots before slices are
	// released: until they have announced it twice. At any moment lines may just have ended.
	peerIdleTime = batch.AnnounceInterval + batch.AnnounceInterval/4
	// paceTime is the time over which the pace of a batch queue is measured.
	paceTime = time.Second
	// peerIdleAhead is for how long a batch queue prefetches while peers are idle. A claim
	// and a read take much less.
	peerIdleAhead = 200 * time.Millisecond
)

// pace measures how many lines of a batch queue become durable each second.
type pace struct {
	lines     int // since the last update
	updated   time.Time
	perSecond float64
}

// add counts a line.
func (p *pace) add() { p.lines++ }

// update computes the pace, at most once in paceTime.
func (p *pace) update(now time.Time) {
	if took := now.Sub(p.updated); took >= paceTime {
		p.perSecond = float64(p.lines) / took.Seconds()
		p.lines, p.updated = 0, now
	}
}

// during returns how many lines become durable in d.
func (p *pace) during(d time.Duration) int { return int(p.perSecond * d.Seconds()) }

// notePeers records whether peers could run more of a batch queue.
func (q *batchQueue) notePeers(d batch.Dispatcher, now time.Time) {
	peers := d.Capabilities().Loads
	q.peersIdle.set(peers != nil && !q.mixed() && peers.OthersIdle(q.batch.Model), now)
	q.pace.update(now)
}

// mixed reports whether lines of a batch queue may wait while others, which are found by
// reading on, could start: they name several models, or are suspicious.
func (q *batchQueue) mixed() bool {
	return q.batch.Model == "" || q.pending[lane{q.batch.Model, true}] != nil
}

// ahead returns how many lines a batch queue prefetches: twice its share of all slots, or
// while peers are idle only what it will start soon. That is a few slices when slots wait;
// room reports whether this gateway may have more lines in flight. Without room it would
// claim slices, release them to its peers, and claim them again.
func (q *batchQueue) ahead(deps *Dependencies, b *budget, limit, sharers int, room bool) int {
	switch {
	case !q.peersIdle.holds():
		return max(batch.SliceLines, 2*limit/sharers, q.window(deps, b, sharers))
	case q.nPending == 0 && room && deps.Dispatcher.Free(q.batch.Model):
		return max(batch.SliceLines, limit/8)
	default:
		return q.pace.during(peerIdleAhead)
	}
}

// rebalance releases what a batch queue has prefetched far beyond ahead lines, see spare: to
// peers that have been idle for a while, or because lines hold more than the memory limit.
func (r *releases) rebalance(q *batchQueue, ahead int, now time.Time) {
	waiting := q.nPending
	for _, c := range q.unread {
		waiting += c.Lines
	}
	if waiting < 2*ahead+batch.SliceLines {
		return
	}
	if q.peersIdle.lasted(peerIdleTime, now) || r.queues.budget.exceeded() && !q.mixed() {
		r.spare(q, ahead)
	}
}
