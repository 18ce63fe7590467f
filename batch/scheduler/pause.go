package scheduler

import (
	"slices"

	"github.com/tidegate/tidegate/batch"
)

// A paused batch has no turn. Its batch queue, if it has one, starts no line and is kept
// until the lines that run are durable.

// Invalidate has the store asked again, and what it is answering just now
// ignored: that may be older than what the caller knows.
func (r *Scheduler) Invalidate() {
	r.post(func() {
		r.epoch++
		r.refreshDue = true
	})
}

// Pause starts nothing more of a batch, before the next refresh says so.
func (r *Scheduler) Pause(b batch.Batch) {
	r.post(func() {
		r.epoch++
		r.refreshDue = true
		r.suspend(b)
	})
}

// suspend records that a batch is paused.
func (r *Scheduler) suspend(b batch.Batch) {
	if _, served := r.active[b.ID]; served {
		delete(r.active, b.ID)
		r.forget(b.ID)
		r.rotation = slices.DeleteFunc(r.rotation, func(id string) bool { return id == b.ID })
	}
	if f := r.queues[b.ID]; f != nil {
		f.batch, f.paused = b, true
		r.releaseIdle(f)
		if f.empty() {
			delete(r.queues, b.ID)
		}
	}
}

// releaseIfStopped releases what is idle of a batch queue that starts nothing more.
func (r *Scheduler) releaseIfStopped(f *batchQueue) {
	if r.stopping || f.paused {
		r.releaseIdle(f)
	}
}
