package scheduler

import (
	"context"
	"time"

	"github.com/tidegate/tidegate/batch"
)

// leastInFlight is the smallest default of Config.MaxInFlight.
const leastInFlight = 256

// MaxInFlight returns Config.MaxInFlight or, if it is not set, what fills the pool.
func (s *Scheduler) MaxInFlight() int {
	if limit := s.deps.Config().MaxInFlight; limit > 0 {
		return limit
	}
	slots := s.deps.Dispatcher.Slots()
	return max(leastInFlight, slots+slots/3)
}

// startLines starts lines until no slot is free or no line can start.
func (s *Scheduler) startLines() {
	if s.noSpace || s.committer.waiting() > s.deps.Config().MemoryBytes || s.leases.mayHaveEnded(time.Now()) {
		return
	}
	limit := s.MaxInFlight()
	full := make(map[string]bool) // models without a free slot
	s.picker.beginRound()
	for s.inFlight < limit {
		l, slot := s.picker.next(full, s.models.markUnroutable)
		if l == nil {
			break
		}
		s.startLine(l, slot)
	}
	if s.models.checkUnroutable() {
		s.rotation.retry()
		s.Wake() // for batches that wait for it
	}
	now := time.Now()
	began := s.models.noteSaturated(full, s.inFlight < limit, now)
	for _, q := range s.queues.byID {
		began = q.stalled.set(q.isStalled(full), now) || began
	}
	if began {
		s.deadlines.at(now.Add(stallTime), nil)
	}
	s.memory.check(s.inFlight < limit, now)
}

// startLine starts an attempt at a line.
func (s *Scheduler) startLine(l *line, slot batch.Slot) {
	ctx, cancel := context.WithCancel(s.lines.Context())
	q, tried := l.work.batchQueue, l.tries()
	l.become(lineRunning)
	tried.abort = cancel
	q.begin(l.model, 1)
	s.inFlight++
	s.queues.read(l, l.reads())
	s.picker.started(l, slot.Upstream())
	a, claim, grant := newAttempt(l, &s.deps), l.work.SliceClaim, tried.grant
	tried.grant = nil
	if q.outage.begins(l) {
		a.input.readable = func() { s.post(func() { s.inputReadable(q) }) }
	}
	s.lines.Start(func(context.Context) {
		defer cancel()
		out := a.send(ctx, slot)
		if out.done {
			out.failure = failureOf(out.result)
			out.result.Charge = a.config().Prices.Charge(batch.ClassBatch, out.result.Model, out.result.Usage)
		}
		out.settle(grant)
		if out.done {
			// The result goes to the committer at once, so that Drain, which waits for
			// this goroutine, finds it there.
			s.committer.add(finishedLine{line: l, claim: claim, result: out.result, grant: grant})
		}
		s.post(func() { s.attempted(l, out) })
	})
}

// attempted handles the outcome of an attempt.
func (s *Scheduler) attempted(l *line, out outcome) {
	w := l.work
	q := w.batchQueue
	q.begin(l.model, -1)
	if l.read > 0 && out.unreadable == nil {
		s.metrics.reread.Add(1)
	}
	s.queues.read(l, 0)
	q.outage.ended(l)
	s.picker.ended(l, &out)
	s.limits.lineEnded(q.batch.Tenant)
	if out.done {
		if l.state == lineRunning { // else its commit was handled first
			l.become(lineFinished)
		}
		if !w.dropped {
			s.countFailure(q, out.failure)
		}
		return
	}
	s.inFlight--
	if out.aborted || w.dropped {
		l.become(lineEnded)
		return
	}
	if out.unreadable != nil {
		s.inputUnreadable(q, out.unreadable)
		q.pushBack(l) // the next trial is another line
		s.releaseIfStopped(q)
		return
	}
	pause := l.tries().failed(out, s.deps.Config())
	q.backOff(l)
	s.releaseIfStopped(q)
	s.deadlines.at(time.Now().Add(pause), func() { q.retry(l, out.excused) })
}

// failed counts an attempt that is to be repeated, and returns the pause before that.
func (a *attempts) failed(out outcome, cfg *batch.Config) time.Duration {
	pause := backoff(int(a.failures), cfg)
	switch {
	case out.unsent:
		pause = backoff(0, cfg)
	case out.excused:
		pause = min(backoff(int(a.excused), cfg), excusedPause)
		a.excused++
	case out.crashed:
		a.crashes++
	case out.timedOut:
		a.timeouts++
	default:
		a.failures++
	}
	a.avoid = out.upstream
	return max(pause, out.wait)
}
