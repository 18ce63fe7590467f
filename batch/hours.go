package batch

import "time"

// Timed is what a Dispatcher offers besides, if lines may run at some hours only.
type Timed interface {
	// Closed reports whether no line may start at this time of day. Freed delivers
	// a value when that changes.
	Closed() (c Closing, closed bool)
}

// Closing is a time without batch work.
type Closing struct {
	Until time.Time // zero: for good
}

// String says why batches wait.
func (c Closing) String() string {
	switch {
	case c.Until.IsZero():
		return "outside of its hours, which never come"
	case time.Until(c.Until) < 24*time.Hour:
		return "outside of its hours until " + c.Until.Format("15:04 MST")
	default:
		return "outside of its hours until " + c.Until.Format("Mon 2006-01-02 15:04 MST")
	}
}

// Closed reports whether no line may start at this time of day.
func (e *Engine) Closed() (Closing, bool) {
	if timed, ok := e.dispatcher.(Timed); ok {
		return timed.Closed()
	}
	return Closing{}, false
}

// WaitReason says why no line of a batch starts though nothing is wrong and it is
// not paused; "" if there is no such reason.
func (e *Engine) WaitReason(b Batch) string {
	if b.Status != InProgress || !b.PausedAt.IsZero() {
		return ""
	}
	if c, closed := e.Closed(); closed {
		return c.String()
	}
	return ""
}

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
