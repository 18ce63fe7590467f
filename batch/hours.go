package batch

// keepHours takes note of a change to or from hours without batch work, or a role
// without it. In these all batches are served as if they were paused.
func (r *runner) keepHours() {
	_, closed := r.engine.Closed()
	closed = closed || !r.engine.Role().Works()
	if closed == r.closed {
		return
	}
	r.closed = closed
	r.epoch++
	r.refreshDue = true
	if !closed {
		return
	}
	for _, f := range r.feeds {
		r.rested(f.batch)
	}
}
