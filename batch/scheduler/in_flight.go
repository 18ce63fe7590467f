package scheduler

import (
	"context"
	"maps"
)

// leastInFlight is what Config.MaxInFlight is by default for small pools.
const leastInFlight = 256

// MaxInFlight is Config.MaxInFlight, or what the pool needs to be full.
func (r *Scheduler) MaxInFlight() int {
	if limit := r.deps.Config().MaxInFlight; limit > 0 {
		return limit
	}
	slots := r.deps.Dispatcher.Slots()
	return max(leastInFlight, slots+slots/3)
}

// LinesInFlight returns the number of lines on an upstream by batch and model. It returns
// nil if ctx ends before the loop answers.
func (r *Scheduler) LinesInFlight(ctx context.Context) map[string]map[string]int64 {
	counted := make(chan map[string]map[string]int64, 1)
	r.post(func() {
		counts := make(map[string]map[string]int64, len(r.queues))
		for id, f := range r.queues {
			if f.running > 0 {
				counts[id] = map[string]int64{f.batch.Model: int64(f.running)}
			}
			if f.batch.Model == "" {
				counts[id] = maps.Clone(f.runningOf)
			}
		}
		counted <- counts
	})
	select {
	case counts := <-counted:
		return counts
	case <-ctx.Done():
		return nil
	}
}

// InFlight returns the number of lines that were sent and have no durable result yet.
func (r *Scheduler) InFlight() int64 { return r.inFlightNow.Load() }

// retain makes the queue forget the batches for which active returns false, if it keeps
// batches in this process.
func (r *Scheduler) retain(active func(batchID string) bool) {
	if q := r.deps.Queue.Capabilities().Retainer; q != nil {
		q.Retain(active)
	}
}
