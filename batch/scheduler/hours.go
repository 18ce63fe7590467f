package scheduler

// keepHours takes note of a change to or from hours without batch work, or a role
// without it. In these all batches are served as if they were paused.
func (r *Scheduler) keepHours() {
	closed := !r.deps.Config().Role.Works()
	if hours := r.deps.Dispatcher.Capabilities().Hours; hours != nil && !closed {
		_, closed = hours.Closed()
	}
	if closed == r.closed {
		return
	}
	r.closed = closed
	r.epoch++
	r.refreshDue = true
	if !closed {
		return
	}
	for _, f := range r.queues {
		r.suspend(f.batch)
	}
}
