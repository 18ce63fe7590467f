package scheduler

import (
	"time"

	"github.com/tidegate/tidegate/batch"
)

// outage tracks outages of the store. Leases end while the store does not answer, and
// gateways that hold results can neither commit them nor renew. After an outage, slices
// whose lease has ended are not reclaimed during outageGrace, so that in-flight results
// can still commit. Slices that no gateway held are claimed at once.
type outage struct {
	away       bool      // the store failed, and has not answered a refresh since
	asking     condition // a refresh waits for the store
	graceUntil time.Time
}

// outageGrace is the time after an outage in which slices of ended leases are not reclaimed.
const outageGrace = 3 * time.Second

// While the store is silent, the first lease that cannot be renewed ends Lease -
// LeaseRenew after the silence began, at the earliest. Every claim of a gateway that still
// assumed the store to be available must be abandoned by then. Such a gateway reads the
// store within refreshEvery, detects the outage after silence, and waits at most claimWait
// for the claims that it began before. Together that is about nine tenths of the time.

// refreshInterval is the longest time between two refreshes.
const refreshInterval = time.Second

// refreshEvery returns the interval between reads of the active batches from the store.
func refreshEvery(c *batch.Config) time.Duration {
	return min(refreshInterval, (c.Lease-c.LeaseRenew)/8)
}

// silence returns the time without an answer after which the store counts as unavailable.
func silence(c *batch.Config) time.Duration {
	return (c.Lease - c.LeaseRenew) / 3
}

// claimWait limits a claim that may take slices of ended leases.
func claimWait(c *batch.Config) time.Duration {
	return 4 * (c.Lease - c.LeaseRenew) / 9
}

// begin records that the store failed.
func (o *outage) begin() { o.away = true }

// ask records that a refresh waits for the store.
func (o *outage) ask(now time.Time) { o.asking = condition{now} }

// answered records the answer to a refresh, or its failure. It reports whether this ends
// an outage. silence is the longest that a store that is available takes to answer.
func (o *outage) answered(err error, now time.Time, silence time.Duration) (over bool) {
	if o.silent(now, silence) {
		o.away = true
	}
	o.asking = condition{}
	over = err == nil && o.away
	o.away = err != nil
	return over
}

// silent reports whether the store has not answered a refresh for too long. Waiting calls
// may be answered as soon as the store is back.
func (o *outage) silent(now time.Time, silence time.Duration) bool {
	return o.asking.lasted(silence, now)
}

// startGrace begins outageGrace.
func (o *outage) startGrace(now time.Time) {
	o.graceUntil = now.Add(outageGrace)
}

// patient reports whether slices of ended leases are not to be reclaimed. A load that
// reclaims them is limited to claimWait, because otherwise it would claim as soon as the
// store is back.
func (o *outage) patient(now time.Time, silence time.Duration) bool {
	return o.away || now.Before(o.graceUntil) || o.silent(now, silence)
}
