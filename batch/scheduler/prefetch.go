package scheduler

import (
	"cmp"
	"context"
	"time"

	"github.com/tidegate/tidegate/batch"
)

// prefetch assigns places to batches, and loads their slices before they are needed.
func (s *Scheduler) prefetch() {
	now := time.Now()
	for id, q := range s.queues.byID {
		if s.releases.unroutable(q, s.models, now) {
			s.rotation.backOff(id, now)
		}
	}
	places := s.rotation.endTurns(now)
	if s.noSpace {
		return
	}
	s.rotation.admit(&places, now)
	if s.outage.away || s.leases.mayHaveEnded(now) {
		return
	}
	patient := s.outage.patient(now, silence(s.deps.Config()))
	s.rotation.rotate(&places, now)
	first, peers := s.queues.first()
	limit := s.MaxInFlight()
	for _, q := range s.queues.byID {
		sharers := places.taken
		if q.batch.Priority == first {
			sharers = peers
		}
		s.prefetchBatch(q, limit, max(sharers, 1), patient, now)
	}
}

// prefetchBatch loads slices of a batch, and releases what peers could run.
func (s *Scheduler) prefetchBatch(q *batchQueue, limit, sharers int, patient bool, now time.Time) {
	if q.loading || q.isPaused() || s.rotation.backsOff(q.batch.ID, now) || s.models.unroutable[q.batch.Model] && q.nPending > 0 {
		return
	}
	q.notePeers(s.deps.Dispatcher, now)
	ahead := q.ahead(&s.deps, &s.queues.budget, limit, sharers, s.inFlight < limit)
	if s.limits.waits(&q.batch) {
		ahead = min(ahead, batch.SliceLines)
	}
	if q.shares() {
		s.queues.deferWindow(q, ahead, s.queues.budget.bodies(sharers))
	}
	s.releases.rebalance(q, ahead, now)
	full := q.nPending >= q.enough(ahead)
	lapsed := !patient && !q.isRetiring() && q.nPending < 2*ahead && now.Sub(q.lapsedChecked) >= lapsedInterval
	if full && !lapsed || q.isRetiring() && len(q.unread) == 0 {
		return
	}
	room := s.queues.budget.room()
	if q.lacks(room) {
		return
	}
	request := loadRequest{slices: (ahead - q.nPending + batch.SliceLines - 1) / batch.SliceLines, memory: room, patient: patient, lapsed: lapsed, only: full, deferred: q.deferring}
	if lapsed {
		q.lapsedChecked = now
	}
	if full {
		request.slices = max(1, ahead/batch.SliceLines)
	}
	request.slices = min(request.slices, max(windowLoad, 2*limit/batch.SliceLines))
	if q.deferring {
		if request.slices = min(request.slices, windowSlices-len(q.work)); request.slices <= 0 && len(q.unread) == 0 {
			return
		}
	}
	s.load(q, request)
}

// slowLoad is the time after which a load begins to read no other slice, so that memory which it
// does not take yet is free for others: the store or the files may hang.
const slowLoad = time.Second

// load loads slices into a batch queue.
func (s *Scheduler) load(q *batchQueue, request loadRequest) {
	request.batch, request.inputKey, request.unread, request.force = q.batch, q.inputKey, q.unread, len(q.work) == 0 && len(q.unread) > 0
	q.loading, q.unread = true, nil
	adds := request.reserve()
	s.queues.budget.expect(adds)
	request.progress = new(progress)
	ended := false
	s.deadlines.at(time.Now().Add(slowLoad), func() {
		if ended {
			return
		}
		begun := request.progress.end()
		s.queues.budget.expect(begun.plus(adds.negative()))
		adds = begun
	})
	loader := &loader{&s.deps}
	s.side.Start(func(ctx context.Context) {
		got := loader.read(ctx, request)
		s.post(func() {
			ended = true
			s.queues.budget.expect(adds.negative())
			s.loaded(q, got, request.only)
		})
	})
}

// loaded handles the result of a load. only reports whether the load was restricted to
// slices of ended leases.
func (s *Scheduler) loaded(q *batchQueue, got loaded, only bool) {
	q.loading = false
	q.inputKey = got.inputKey
	q.unread = got.unread
	if got.more {
		q.lapsedChecked = time.Time{} // at once
	}
	var kept []*work // slices whose remaining lines are all kept by a peer
	for _, w := range got.work {
		w.batchQueue = q
		if w.left == 0 {
			kept = append(kept, w)
		} else {
			s.queues.add(q, w)
		}
	}
	s.acknowledge(kept)
	s.leases.update()
	if s.leases.mayHaveEnded(time.Now()) {
		s.renew() // the load took that long
	}
	id := q.batch.ID
	if s.queues.byID[id] != q { // dropped meanwhile
		s.queues.dropBatch(q)
		return
	}
	if s.stopping || q.isPaused() {
		s.releases.idle(q)
		return
	}
	s.deps.Health.NoteBatch(id, q.batch.Tenant, cmp.Or(got.err, q.outage.err))
	if got.err != nil && len(q.work) == 0 && len(s.rotation.waiting) > 0 {
		s.releases.idle(q) // slices that cannot be read would keep its place
	}
	s.outage.away = s.outage.away || got.away
	if got.found || !only {
		q.exhausted = got.err == nil && !got.found
	}
	if got.err != nil || !got.found && !only {
		s.rotation.backOff(id, time.Now())
	} else {
		delete(s.rotation.backoffUntil, id)
	}
}
