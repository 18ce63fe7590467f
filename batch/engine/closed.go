package engine

import "github.com/tidegate/tidegate/batch"

// Closed reports whether no line may start at this time of day.
func (e *Engine) Closed() (batch.Closing, bool) {
	if hours := e.dispatcher.Capabilities().Hours; hours != nil {
		return hours.Closed()
	}
	return batch.Closing{}, false
}
