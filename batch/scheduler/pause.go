package scheduler

import (
	"context"
	"errors"

	"go.uber.org/zap"

	"github.com/tidegate/tidegate/batch"
)

// A paused batch is not in the rotation. Its batch queue, if it has one, starts no line
// and is kept until the lines that run are durable.

// Pause stops the start of lines of a batch that is paused in the store, before the next
// refresh returns that.
func (s *Scheduler) Pause(b batch.Batch) {
	s.post(func() {
		s.refreshes.invalidate()
		s.suspend(b)
	})
}

// suspend stops the start of lines of a batch.
func (s *Scheduler) suspend(b batch.Batch) {
	if _, active := s.rotation.active[b.ID]; active {
		s.rotation.remove(b.ID)
	}
	if q := s.queues.byID[b.ID]; q != nil {
		q.batch = b
		q.pause()
		s.releases.idle(q)
		if q.empty() {
			delete(s.queues.byID, b.ID)
		}
	}
}

// releaseIfStopped releases what is idle of a batch queue that starts no more lines.
func (s *Scheduler) releaseIfStopped(q *batchQueue) {
	if s.stopping || q.isPaused() {
		s.releases.idle(q)
	}
}

// checkHours handles the begin and the end of hours without batch work, and a change of
// role. In such hours all batches are served as if they were paused.
func (s *Scheduler) checkHours() {
	closed := !s.deps.Config().Role.Works()
	if hours := s.deps.Dispatcher.Capabilities().Hours; hours != nil && !closed {
		_, closed = hours.Closed()
	}
	if closed == s.closed {
		return
	}
	s.closed = closed
	s.refreshes.invalidate()
	if !closed {
		return
	}
	for _, q := range s.queues.byID {
		s.suspend(q.batch)
	}
}

// countFailure counts the result of a line, and pauses its batch when too many lines
// failed in a row with the same error.
func (s *Scheduler) countFailure(q *batchQueue, f failure) {
	reason := s.breaker.ended(q, f, s.deps.Config())
	if reason == "" {
		return
	}
	b := q.batch
	s.suspend(b) // until the store has answered
	s.side.Start(func(ctx context.Context) { s.pauseInStore(ctx, b, reason) })
}

// pauseInStore pauses a batch for a reason. If the store does not answer, the refresh
// after that continues the batch, and the next streak tries again.
func (s *Scheduler) pauseInStore(ctx context.Context, b batch.Batch, reason string) {
	ctx, cancel := bounded(ctx)
	defer cancel()
	stopped, err := s.deps.Store.PauseBatch(ctx, b.Tenant, b.ID, reason)
	s.post(func() { s.breaker.close(b.ID) })
	switch {
	case err == nil:
		s.deps.Log.Warn("batch paused: lines fail in a row with the same error", zap.String("batch_id", b.ID), zap.String("reason", reason))
		s.Pause(stopped)
		s.deps.Notify()
	case errors.Is(err, batch.ErrConflict), errors.Is(err, batch.ErrNotFound): // it has ended
		s.Invalidate()
	default:
		s.deps.Log.Warn("pausing a batch whose lines fail", zap.String("batch_id", b.ID), zap.Error(err))
		s.Invalidate()
	}
}
