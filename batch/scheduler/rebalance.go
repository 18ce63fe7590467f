package scheduler

import (
	"time"

	"github.com/tidegate/tidegate/batch"
)

// Slices that this gateway has read ahead cannot run elsewhere. While peers have idle slots,
// it reads ahead only what it will start soon and releases the rest, so that a batch is
// spread over all gateways from its first line to its last.

// idleTime is for how long others leave slots free before something is handed
// back: until they have said so twice. At any one moment lines may just have ended.
const idleTime = batch.AnnounceInterval + batch.AnnounceInterval/4

// paceTime is over how long the pace of a batch queue is measured.
const paceTime = time.Second

// aheadTime is for how long a batch queue has read ahead while others are idle: a claim
// and a read take much less.
const aheadTime = 200 * time.Millisecond

// noteOthers finds out whether other gateways could run more of a batch queue, and how
// fast it gets on here.
func (r *Scheduler) noteOthers(f *batchQueue, now time.Time) {
	others := r.deps.Dispatcher.Capabilities().Loads
	switch {
	case others == nil || f.mixed() || !others.OthersIdle(f.batch.Model):
		f.idle = time.Time{}
	case f.idle.IsZero():
		f.idle = now
	}
	if took := now.Sub(f.paced); took >= paceTime {
		f.pace = float64(f.done) / took.Seconds()
		f.done, f.paced = 0, now
	}
}

// mixed reports whether some lines of a batch queue may have to wait while others could
// start, which are found by reading on: they name several models, or are
// suspicious.
func (f *batchQueue) mixed() bool {
	return f.batch.Model == "" || f.pending[lane{f.batch.Model, true}] != nil
}

// ahead is how many lines a batch queue reads ahead: what all slots of its share take
// twice; while others are idle, what it will soon begin, which is a few slices
// when slots wait for them.
func (r *Scheduler) ahead(f *batchQueue, limit, sharers int) int {
	switch {
	case f.idle.IsZero():
		return max(batch.SliceLines, 2*limit/sharers, r.window(f, sharers))
	case f.nPending == 0 && r.deps.Dispatcher.Free(f.batch.Model):
		return max(batch.SliceLines, limit/8)
	default:
		return int(f.pace * aheadTime.Seconds())
	}
}

// rebalance releases what a batch queue has far beyond its ahead for others that have
// been idle for a while, and not a slice of which a line was tried, as its retries
// are counted here.
func (r *Scheduler) rebalance(f *batchQueue, ahead int, now time.Time) {
	waiting := f.nPending
	for _, s := range f.unread {
		waiting += s.Lines
	}
	if f.idle.IsZero() || now.Sub(f.idle) < idleTime || waiting < 2*ahead+batch.SliceLines {
		return
	}
	r.releaseExcept(f, (*line).tried, ahead)
}
