package scheduler

import (
	"time"

	"github.com/tidegate/tidegate/batch"
)

// Outages of the store. Leases end while the store does not answer, and gateways that hold
// results can neither commit them nor renew. After an outage, slices whose lease has ended
// are not reclaimed during outageGrace, so that in-flight results can still commit. Slices
// that no gateway held are claimed at once.

// outageGrace is how long that while is.
const outageGrace = 3 * time.Second

// The first lease that a silent store keeps from being renewed ends Lease -
// LeaseRenew after it fell silent, at the earliest. By then every claim must have
// been given up that was begun by one who took the store to be there: it asks the
// store within refreshEvery, knows after a silence that it is away, and waits for
// what it wanted to claim just before that for claimWait. Together that is nine
// tenths of the time.

// refreshEvery is how often the store is asked which batches are active.
func refreshEvery(c *batch.Config) time.Duration {
	return min(refreshInterval, (c.Lease-c.LeaseRenew)/8)
}

// silence is how long the store may say nothing without counting as away.
func silence(c *batch.Config) time.Duration {
	return (c.Lease - c.LeaseRenew) / 3
}

// claimWait is how long a claim waits for the store that may take what others
// have.
func claimWait(c *batch.Config) time.Duration {
	return 4 * (c.Lease - c.LeaseRenew) / 9
}

// storeAnswered handles the answer to a refresh, or that there is none.
func (r *Scheduler) storeAnswered(err error) {
	if r.silent(time.Now()) {
		r.outage = true
	}
	r.asked = time.Time{}
	switch {
	case err != nil:
		r.outage = true
	case r.outage:
		r.outage = false
		r.StartGrace()
		r.renew()
	}
}

// silent reports whether the store has not answered a refresh for too long. What
// waits for it may be answered in the moment in which it is back.
func (r *Scheduler) silent(now time.Time) bool {
	return !r.asked.IsZero() && now.Sub(r.asked) >= silence(r.deps.Config())
}

// StartGrace has leases that ended left alone for now: the store was away.
func (r *Scheduler) StartGrace() {
	r.patience = time.Now().Add(outageGrace)
	r.deadlines.at(r.patience, nil)
}

// patient reports whether leases that ended are to be left alone. A load that does
// not leave them alone has no longer than claimWait: it would claim in the moment
// in which the store is back.
func (r *Scheduler) patient(now time.Time) bool {
	return r.outage || now.Before(r.patience) || r.silent(now)
}
