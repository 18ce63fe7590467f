package scheduler

import (
	"context"
	"slices"
	"time"

	"go.uber.org/zap"

	"github.com/tidegate/tidegate/batch"
)

// claims lists every claim that is held.
func (r *Scheduler) claims() []batch.SliceClaim {
	var held []batch.SliceClaim
	for _, f := range r.queues {
		for _, w := range f.work {
			held = append(held, w.SliceClaim)
		}
		for _, s := range f.unread {
			held = append(held, s.SliceClaim)
		}
	}
	return held
}

// lapsed reports whether a lease may have ended. Then nothing is started, for
// another may run it, and nothing is claimed, which may be our own, until all
// are renewed.
func (r *Scheduler) lapsed(now time.Time) bool {
	if r.held.IsZero() || now.Before(r.held) {
		return false
	}
	r.updateHeld() // the slice that it was about may be finished
	return !r.held.IsZero() && !now.Before(r.held)
}

// updateHeld finds out when the first lease ends.
func (r *Scheduler) updateHeld() {
	r.held = time.Time{}
	sooner := func(until time.Time) {
		if r.held.IsZero() || until.Before(r.held) {
			r.held = until
		}
	}
	for _, f := range r.queues {
		for _, w := range f.work {
			sooner(w.until)
		}
		for _, s := range f.unread {
			sooner(s.until)
		}
	}
}

// renew extends the leases of all claims.
func (r *Scheduler) renew() {
	held := r.claims()
	until := time.Now().Add(r.deps.Config().Lease)
	if len(held) == 0 {
		r.deps.Health.Note("renewing leases", nil)
		return
	}
	r.side.Start(func(ctx context.Context) {
		ctx, cancel := r.bounded(ctx)
		defer cancel()
		lost, err := r.deps.Store.RenewSlices(ctx, held, r.deps.Config().Lease)
		r.post(func() {
			r.deps.Health.Note("renewing leases", err)
			r.outage = r.outage || err != nil
			r.lost(lost)
			if err == nil {
				r.renewed(held, until)
			} else {
				r.renewSoon()
			}
		})
	})
}

// renewPause is how soon a renewal that failed is repeated: others take what is
// not renewed, and the store may be back long before the next is due.
const renewPause = 100 * time.Millisecond

// renewSoon repeats a renewal that failed.
func (r *Scheduler) renewSoon() {
	if r.renewing {
		return
	}
	r.renewing = true
	r.deadlines.at(time.Now().Add(renewPause), func() {
		r.renewing = false
		r.renew()
	})
}

// renewed records that claims hold for longer.
func (r *Scheduler) renewed(claims []batch.SliceClaim, until time.Time) {
	for _, c := range claims {
		f := r.queues[c.BatchID]
		if f == nil {
			continue
		}
		if w := f.work[c.Number]; w != nil && w.SliceClaim == c {
			w.until = until
		}
		for i, s := range f.unread {
			if s.SliceClaim == c {
				f.unread[i].until = until
			}
		}
	}
	r.updateHeld()
}

// lost drops slices that another instance has claimed since.
func (r *Scheduler) lost(claims []batch.SliceClaim) {
	for _, c := range claims {
		f := r.queues[c.BatchID]
		if f == nil {
			continue
		}
		if w := f.work[c.Number]; w != nil && w.SliceClaim == c {
			r.deps.Log.Warn("slice lost to another instance", zap.String("batch_id", c.BatchID), zap.Int("slice", c.Number), zap.Int("attempt", c.Attempt))
			r.counters.lost.Add(1)
			r.dropWork(w)
		}
		f.unread = slices.DeleteFunc(f.unread, func(s claimed) bool { return s.SliceClaim == c })
	}
}
