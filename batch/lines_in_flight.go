package batch

import (
	"context"
	"maps"
)

// leastInFlight is what Config.MaxInFlight is by default for small pools.
const leastInFlight = 256

// maxInFlight is Config.MaxInFlight, or what the pool needs to be full.
func (e *Engine) maxInFlight() int {
	if limit := e.config().MaxInFlight; limit > 0 {
		return limit
	}
	slots := e.dispatcher.Slots()
	return max(leastInFlight, slots+slots/3)
}

// linesInFlight counts them by batch and model.
func (e *Engine) linesInFlight(ctx context.Context) map[string]map[string]int64 {
	told := make(chan map[string]map[string]int64, 1)
	e.runner.post(func() {
		counts := make(map[string]map[string]int64, len(e.runner.feeds))
		for id, f := range e.runner.feeds {
			if f.running > 0 {
				counts[id] = map[string]int64{f.batch.Model: int64(f.running)}
			}
			if f.batch.Model == "" {
				counts[id] = maps.Clone(f.runningOf)
			}
		}
		told <- counts
	})
	select {
	case counts := <-told:
		return counts
	case <-ctx.Done():
		return nil
	}
}
