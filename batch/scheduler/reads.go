package scheduler

import (
	"context"
	"maps"
	"time"

	"github.com/tidegate/tidegate/batch"
)

// Metrics returns the metrics of the Scheduler.
func (s *Scheduler) Metrics() *Metrics { return &s.metrics }

// Memory returns how much memory requests take, and whether the limit was reached while
// slots were idle.
func (s *Scheduler) Memory(now time.Time) batch.Memory { return s.memory.report(now) }

// LinesInFlight returns the number of lines on an upstream by batch and model. It returns
// nil if ctx ends before the loop answers.
func (s *Scheduler) LinesInFlight(ctx context.Context) map[string]map[string]int64 {
	counted := make(chan map[string]map[string]int64, 1)
	s.post(func() { counted <- s.queues.running() })
	select {
	case counts := <-counted:
		return counts
	case <-ctx.Done():
		return nil
	}
}

// running returns the number of lines that have a slot by batch and model.
func (s *queueSet) running() map[string]map[string]int64 {
	counts := make(map[string]map[string]int64, len(s.byID))
	for id, q := range s.byID {
		if q.running > 0 {
			counts[id] = map[string]int64{q.batch.Model: int64(q.running)}
		}
		if q.batch.Model == "" {
			counts[id] = maps.Clone(q.runningOf)
		}
	}
	return counts
}
