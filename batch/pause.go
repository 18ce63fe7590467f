package batch

import "slices"

// What the runner does about pauses. A paused batch has no turn; its feed, if
// it has one, starts nothing and lives until what runs of it is durable.

// refreshAnew has the store asked again, and what it is answering just now
// ignored: that may be older than what the caller knows.
func (r *Scheduler) refreshAnew() {
	r.post(func() {
		r.epoch++
		r.refreshDue = true
	})
}

// pause starts nothing more of a batch, before the next refresh says so.
func (r *Scheduler) pause(b Batch) {
	r.post(func() {
		r.epoch++
		r.refreshDue = true
		r.rested(b)
	})
}

// rested takes in that a batch is paused.
func (r *Scheduler) rested(b Batch) {
	if _, served := r.active[b.ID]; served {
		delete(r.active, b.ID)
		r.forget(b.ID)
		r.turns = slices.DeleteFunc(r.turns, func(id string) bool { return id == b.ID })
	}
	if f := r.feeds[b.ID]; f != nil {
		f.batch, f.paused = b, true
		r.handBackIdle(f)
		if f.empty() {
			delete(r.feeds, b.ID)
		}
	}
}

// settle hands back what is idle of a feed that starts nothing more.
func (r *Scheduler) settle(f *feed) {
	if r.stopping || f.paused {
		r.handBackIdle(f)
	}
}
