package engine

import "github.com/tidegate/tidegate/batch"

// Closed reports whether no line may start at this time of day.
func (e *Engine) Closed() (batch.Closing, bool) {
	if hours := e.dispatcher.Capabilities().Hours; hours != nil {
		return hours.Closed()
	}
	return batch.Closing{}, false
}

// WaitReason says why no line of a batch starts though nothing is wrong and it is
// not paused; "" if there is no such reason.
func (e *Engine) WaitReason(b batch.Batch) string {
	if b.Status != batch.InProgress || !b.PausedAt.IsZero() {
		return ""
	}
	if c, closed := e.Closed(); closed {
		return c.String()
	}
	return ""
}
