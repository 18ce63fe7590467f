package engine

import "github.com/tidegate/tidegate/batch"

// Closed reports whether no line may start at this time of day.
func (r *Reads) Closed() (batch.Closing, bool) {
	if hours := r.dispatcher.Capabilities().Hours; hours != nil {
		return hours.Closed()
	}
	return batch.Closing{}, false
}
