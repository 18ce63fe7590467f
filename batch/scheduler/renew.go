package scheduler

import (
	"context"
	"time"

	"go.uber.org/zap"

	"github.com/tidegate/tidegate/batch"
)

// renewPause is the pause before a renewal that failed is repeated. Peers claim what is
// not renewed, and the store may be back long before the next regular renewal.
const renewPause = 100 * time.Millisecond

// renew extends the leases of all claims.
func (s *Scheduler) renew() {
	held := s.queues.claims()
	until := time.Now().Add(s.deps.Config().Lease)
	if len(held) == 0 {
		s.deps.Health.Note("renewing leases", nil)
		return
	}
	s.side.Start(func(ctx context.Context) {
		ctx, cancel := bounded(ctx)
		defer cancel()
		lost, err := s.deps.Store.RenewSlices(ctx, held, s.deps.Config().Lease)
		s.post(func() {
			s.deps.Health.Note("renewing leases", err)
			s.leases.lost(lost, func(c batch.SliceClaim) {
				s.deps.Log.Warn("slice lost to another gateway", zap.String("batch_id", c.BatchID), zap.Int("slice", c.Number), zap.Int("attempt", c.Attempt))
				s.metrics.lost.Add(1)
			})
			if err == nil {
				s.leases.renewed(held, until)
				return
			}
			s.outage.begin()
			s.renewSoon()
		})
	})
}

// renewSoon repeats a renewal that failed.
func (s *Scheduler) renewSoon() {
	if s.leases.retrying {
		return
	}
	s.leases.retrying = true
	s.deadlines.at(time.Now().Add(renewPause), func() {
		s.leases.retrying = false
		s.renew()
	})
}
