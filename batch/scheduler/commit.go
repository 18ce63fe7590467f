package scheduler

import (
	"context"
	"slices"

	"go.uber.org/zap"

	"github.com/tidegate/tidegate/batch"
)

// committed handles the commit of results: they are durable, or refused because the claim
// on their slice was stale.
func (s *Scheduler) committed(group []finishedLine, stale []batch.SliceClaim) {
	refused := make(map[batch.SliceClaim]bool, len(stale))
	for _, c := range stale {
		refused[c] = true
	}
	var done, lost []*work
	queues := make(map[*batchQueue]bool)
	s.metrics.commits.Add(1)
	for _, finished := range group {
		w := finished.line.work
		queues[w.batchQueue] = true
		s.inFlight--
		last := s.queues.committed(finished.line)
		finished.grant.Stored(!refused[w.SliceClaim])
		if refused[w.SliceClaim] {
			s.metrics.refused.Add(1)
			if !w.dropped && !slices.Contains(lost, w) {
				lost = append(lost, w)
				s.deps.Log.Warn("results refused: the slice was claimed by another gateway", zap.String("batch_id", w.BatchID), zap.Int("slice", w.Number), zap.Int("attempt", w.Attempt))
			}
			continue
		}
		s.metrics.durable(&finished.result)
		if last {
			s.queues.end(w)
			if w.partial { // peers run the other lines of the slice, or have run them
				s.deps.WakeWorkers()
				continue
			}
			done = append(done, w)
		}
	}
	s.queues.dropWork(lost...)
	s.acknowledge(done)
	for q := range queues {
		s.releaseIfStopped(q)
	}
}

// acknowledge removes slices in which nothing is left to do from the queue, and wakes the
// workers that finalize batches. A slice with lines that a peer keeps is released, so that
// it can be claimed again if these lines do not get their results.
func (s *Scheduler) acknowledge(done []*work) {
	if len(done) == 0 {
		return
	}
	s.deps.WakeWorkers()
	numbers := make(map[string][]int)
	for _, w := range done {
		numbers[w.BatchID] = append(numbers[w.BatchID], w.Number)
		if w.Kept != 0 {
			r := wholeSlice(&w.claimed)
			r.kept = true
			s.releases.pending.add(r)
		}
	}
	s.side.Start(func(ctx context.Context) {
		ctx, cancel := bounded(ctx)
		defer cancel()
		for id, n := range numbers {
			s.deps.NoteQueue(s.deps.Queue.Done(ctx, id, n))
		}
	})
}
