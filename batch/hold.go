package batch

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
