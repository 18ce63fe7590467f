package scheduler

import (
	"context"
	"time"

	"github.com/tidegate/tidegate/batch"
)

// ActiveLimit limits how many active batches a refresh returns.
const ActiveLimit = 10_000

// Refresh asks the store soon which batches are active.
func (s *Scheduler) Refresh() {
	s.post(func() { s.refreshes.due = true })
}

// Invalidate reads the store again, and ignores the answer to a refresh that is running,
// as that may be older than the caller's state.
func (s *Scheduler) Invalidate() { s.post(s.refreshes.invalidate) }

// ActiveBatches returns the batches that the last refresh returned.
func (s *Scheduler) ActiveBatches() []batch.Batch {
	if batches := s.served.Load(); batches != nil {
		return *batches
	}
	return nil
}

// refresh asks the store for the active batches, and the files for free space.
func (s *Scheduler) refresh() {
	began, epoch := time.Now(), s.refreshes.begin()
	s.outage.ask(began)
	s.side.Start(func(ctx context.Context) {
		ctx, cancel := bounded(ctx)
		defer cancel()
		batches, err := s.deps.Store.ActiveBatches(ctx, ActiveLimit)
		s.post(func() {
			s.deps.Health.Note("looking for active batches", err)
			if s.outage.answered(err, time.Now(), silence(s.deps.Config())) { // it is over
				s.StartGrace()
				s.renew()
			}
		})
		space := s.deps.Files.Ping(ctx)
		s.post(func() {
			stale := s.refreshes.end(began, epoch, len(batches), refreshEvery(s.deps.Config()))
			if s.refreshes.notBefore.After(time.Now()) {
				s.deadlines.at(s.refreshes.notBefore, nil)
			}
			s.deps.Health.Note("storing files", space)
			s.noSpace = space != nil
			switch {
			case err != nil:
			case stale:
				s.refreshes.due = true
			default:
				s.refreshed(batches)
			}
		})
	})
}

// StartGrace begins a time in which slices of ended leases are not reclaimed, because the
// store was away.
func (s *Scheduler) StartGrace() {
	s.outage.startGrace(time.Now())
	s.deadlines.at(s.outage.graceUntil, nil)
}

// refreshed handles the active batches that a refresh returned, the most urgent first.
func (s *Scheduler) refreshed(batches []batch.Batch) {
	s.served.Store(&batches)
	running := make([]batch.Batch, 0, len(batches)) // not paused
	active := make(map[string]batch.Batch, len(batches))
	stopped := make(map[string]bool)
	for _, b := range batches {
		if b.PausedAt.IsZero() && !s.breaker.open[b.ID] && !s.closed {
			running = append(running, b)
			active[b.ID] = b
		} else {
			stopped[b.ID] = true
			s.suspend(b)
		}
	}
	known := func(id string) bool { _, is := active[id]; return is || stopped[id] }
	if len(batches) < ActiveLimit { // else a batch that is missing may be beyond the limit
		for id, q := range s.queues.byID {
			if !known(id) {
				s.queues.dropBatch(q)
			}
		}
		if q := s.deps.Queue.Capabilities().Retainer; q != nil {
			q.Retain(known)
		}
	}
	s.models.refreshed(running)
	s.breaker.retain(active)
	s.rotation.refreshed(running, active)
}

// Abandon drops what is in memory of a batch that was cancelled.
func (s *Scheduler) Abandon(id string) {
	s.post(func() {
		if q := s.queues.byID[id]; q != nil {
			s.queues.dropBatch(q)
		}
		s.rotation.remove(id)
	})
}
