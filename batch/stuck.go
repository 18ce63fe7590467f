package batch

import (
	"errors"
	"time"
)

// What the runner does about batches of which nothing can start: their models
// have no upstream, or none with a slot, or every line waits for its retry. They
// are set aside, and so are batches of a model of which more lines wait than there
// are slots for: batches of other models are served in their place, so that no
// upstreams are idle because those of another model are full. And what waits for a
// model without an upstream is handed back, so that another gateway may run it and
// other lines of the batch are looked at.

// stuckTime is for how long nothing of a feed can start before it is set aside.
// An upstream that is away for a moment is not worth that.
const stuckTime = 2 * time.Second

// noteStuck finds out which feeds are stuck. full are the models for which
// there was no slot just now.
func (r *Scheduler) noteStuck(full map[string]bool) {
	for _, f := range r.feeds {
		switch {
		case !f.standsStill(full):
			f.stuck = time.Time{}
		case f.stuck.IsZero():
			f.stuck = time.Now()
			time.AfterFunc(stuckTime, r.wake)
		}
	}
}

// standsStill tells whether lines of a feed wait, and none runs or can start.
func (f *feed) standsStill(full map[string]bool) bool {
	if f.running > 0 || f.nPending+f.resting == 0 {
		return false
	}
	for lane := range f.pending {
		if !full[lane.model] {
			return false
		}
	}
	return true
}

// crowded is a model of which more lines wait than there are slots for.
type crowded struct{ since, last time.Time }

// crowdPause is how long nothing may wait for a crowded model: between two loads,
// or between two batches.
const crowdPause = 500 * time.Millisecond

// noteCrowded takes in for which models there was no slot just now. Where no line
// at all could be started, nothing is known of any model.
func (r *Scheduler) noteCrowded(full map[string]bool, known bool, now time.Time) {
	for model := range full {
		c := r.crowded[model]
		if c.since.IsZero() {
			c.since = now
			time.AfterFunc(stuckTime, r.wake)
		}
		r.crowded[model] = crowded{c.since, now}
	}
	for model, c := range r.crowded {
		switch {
		case !known:
			r.crowded[model] = crowded{c.since, now}
		case now.Sub(c.last) > crowdPause:
			delete(r.crowded, model)
		}
	}
}

// crowdedLong tells whether a model has been crowded for long enough.
func (r *Scheduler) crowdedLong(model string, now time.Time) bool {
	c, is := r.crowded[model]
	return is && now.Sub(c.since) >= stuckTime
}

// stuckLong tells whether a feed has been stuck for long enough.
func (f *feed) stuckLong(now time.Time) bool {
	return !f.stuck.IsZero() && now.Sub(f.stuck) >= stuckTime
}

// unload hands back what a stuck feed has of models without an upstream, and
// leaves its batch alone for a moment. Slices with a line that was tried are
// kept: handing them back would forget which retries are used up.
func (r *Scheduler) unload(f *feed, now time.Time) {
	if !f.stuckLong(now) || f.nPending == 0 {
		return
	}
	for lane := range f.pending {
		if !r.starved[lane.model] {
			return // a slot will come
		}
	}
	before := len(r.idle)
	r.handBackBut(f, (*line).tried, none)
	if len(r.idle) > before {
		r.rest[f.batch.ID] = now.Add(restTime)
		time.AfterFunc(restTime, r.wake)
	}
}

// tried tells whether a line was sent, or is to be.
func (l *line) tried() bool {
	return l.underWay() || l.state == lineResting || l.failures+l.timeouts+l.crashes > 0
}

// starve takes in that a model has no upstream.
func (r *Scheduler) starve(model string, why error) {
	r.starved[model] = true
	r.deps.Health.Note("model "+model, why)
}

// feedStarved finds out which models have an upstream again, or are not asked
// for any more: batches of which all lines wait for one have no feed that would.
func (r *Scheduler) feedStarved() {
	for model := range r.starved {
		if r.named[model] || r.named[""] {
			err := r.deps.Dispatcher.Up(model)
			if errors.Is(err, ErrTrial) {
				if r.starved[model] { // lines are needed for it
					r.starved[model] = false
					r.lookAgain()
					r.wake()
				}
				continue
			}
			if err != nil {
				r.starve(model, err)
				continue
			}
		}
		delete(r.starved, model)
		r.deps.Health.Note("model "+model, nil)
		r.lookAgain()
		r.wake() // for batches that wait for it
	}
}
