package scheduler

import (
	"errors"
	"time"

	"github.com/tidegate/tidegate/batch"
)

// Stall handling: batches with no runnable line. A batch stalls when its models have no
// upstream or no free slot, or when every line waits for its retry. A model is saturated
// when more of its lines wait than there are slots. Stalled batches, and batches of a
// saturated model, keep their place, and batches of other models are served beside them,
// so that no upstream idles because those of another model are full. Slices that wait for
// a model without an upstream are released: another gateway may reach one.

// stallTime is for how long nothing of a batch queue can start before it is set aside.
// An upstream that is away for a moment is not worth that.
const stallTime = 2 * time.Second

// noteStalled finds out which batch queues are stalled. full are the models for which
// there was no slot just now.
func (r *Scheduler) noteStalled(full map[string]bool) {
	for _, f := range r.queues {
		switch {
		case !f.isStalled(full):
			f.stalled = time.Time{}
		case f.stalled.IsZero():
			f.stalled = time.Now()
			r.deadlines.at(f.stalled.Add(stallTime), nil)
		}
	}
}

// isStalled reports whether lines of a batch queue wait, and none runs or can start.
func (f *batchQueue) isStalled(full map[string]bool) bool {
	if f.running > 0 || f.nPending+f.backingOff == 0 {
		return false
	}
	for lane := range f.pending {
		if !full[lane.model] {
			return false
		}
	}
	return true
}

// saturated is a model of which more lines wait than there are slots for.
type saturated struct{ since, last time.Time }

// saturationGap is how long nothing may wait for a saturated model: between two loads,
// or between two batches.
const saturationGap = 500 * time.Millisecond

// noteSaturated records for which models there was no slot just now. Where no line
// at all could be started, nothing is known of any model.
func (r *Scheduler) noteSaturated(full map[string]bool, known bool, now time.Time) {
	for model := range full {
		c := r.saturated[model]
		if c.since.IsZero() {
			c.since = now
			r.deadlines.at(now.Add(stallTime), nil)
		}
		r.saturated[model] = saturated{c.since, now}
	}
	for model, c := range r.saturated {
		switch {
		case !known:
			r.saturated[model] = saturated{c.since, now}
		case now.Sub(c.last) > saturationGap:
			delete(r.saturated, model)
		}
	}
}

// saturatedLong reports whether a model has been saturated for long enough.
func (r *Scheduler) saturatedLong(model string, now time.Time) bool {
	c, is := r.saturated[model]
	return is && now.Sub(c.since) >= stallTime
}

// stalledLong reports whether a batch queue has been stalled for long enough.
func (f *batchQueue) stalledLong(now time.Time) bool {
	return !f.stalled.IsZero() && now.Sub(f.stalled) >= stallTime
}

// releaseUnroutable releases what a stalled batch queue has of models without an upstream, and
// leaves its batch alone for a moment. Slices with a line that was tried are
// kept: handing them back would forget which retries are used up.
func (r *Scheduler) releaseUnroutable(f *batchQueue, now time.Time) {
	if !f.stalledLong(now) || f.nPending == 0 {
		return
	}
	for lane := range f.pending {
		if !r.unroutable[lane.model] {
			return // a slot will come
		}
	}
	before := len(r.idle)
	r.releaseExcept(f, (*line).tried, none)
	if len(r.idle) > before {
		r.backOff(f.batch.ID, now)
	}
}

// tried reports whether a line was sent, or is to be.
func (l *line) tried() bool {
	return l.underWay() || l.state == lineBackoff || l.failures+l.timeouts+l.crashes > 0
}

// markUnroutable records that a model has no upstream.
func (r *Scheduler) markUnroutable(model string, why error) {
	r.unroutable[model] = true
	if errors.Is(why, batch.ErrAway) {
		why = nil // its lines start the servers
	}
	r.deps.Health.Note("model "+model, why)
}

// checkUnroutable finds out which models have an upstream again, or are not asked
// for any more: batches of which all lines wait for one have no feed that would.
func (r *Scheduler) checkUnroutable() {
	for model := range r.unroutable {
		if r.named[model] || r.named[""] {
			err := r.deps.Dispatcher.Up(model)
			if errors.Is(err, batch.ErrTrial) {
				if r.unroutable[model] { // lines are needed for it
					r.unroutable[model] = false
					r.retryRotation()
					r.Wake()
				}
				continue
			}
			if err != nil {
				r.markUnroutable(model, err)
				continue
			}
		}
		delete(r.unroutable, model)
		r.deps.Health.Note("model "+model, nil)
		r.retryRotation()
		r.Wake() // for batches that wait for it
	}
}
