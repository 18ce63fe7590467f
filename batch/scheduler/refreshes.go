package scheduler

import "time"

// refreshDelay is the time from one refresh to the next for each batch that it returned.
// Batches that are created one after the other each ask for a refresh, which would
// otherwise take all processors.
const refreshDelay = 50 * time.Microsecond

// refreshes decides when the store is asked for the active batches.
type refreshes struct {
	due       bool
	running   bool
	notBefore time.Time
	epoch     int // counts the changes that make the answer to a running refresh stale
}

// invalidate asks for a refresh, and makes the answer to a running one stale.
func (r *refreshes) invalidate() {
	r.epoch++
	r.due = true
}

// ready reports whether a refresh is to begin now.
func (r *refreshes) ready(now time.Time) bool {
	return r.due && !r.running && !now.Before(r.notBefore)
}

// begin records that a refresh has begun, and returns the epoch for end.
func (r *refreshes) begin() (epoch int) {
	r.running, r.due = true, false
	return r.epoch
}

// end records the end of a refresh that began at a time and returned n batches. It
// reports whether its answer is stale, in which case another refresh is due. The next
// begins within every after the start of this one.
func (r *refreshes) end(began time.Time, epoch, n int, every time.Duration) (stale bool) {
	r.running = false
	r.notBefore = began.Add(min(time.Duration(n)*refreshDelay, every))
	return epoch != r.epoch
}
