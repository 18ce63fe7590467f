package batch

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"time"

	"github.com/dustin/go-humanize"
)

// Capacity is how much batch work a gateway does at a time.
type Capacity struct {
	MaxInFlight          int // lines
	MaxConcurrentBatches int
	Memory               Memory
	Role                 Role // without work, the first two are not used
}

// Capacity tells how much this gateway may do now.
func (e *Engine) Capacity() Capacity {
	return Capacity{e.maxInFlight(), e.config().MaxConcurrentBatches, e.runner.memoryNow(time.Now()), e.Role()}
}

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

// InFlight is how many lines this gateway has sent that are not durable yet.
func (e *Engine) InFlight() int64 { return e.runner.inFlightNow.Load() }

// LinesInFlight counts by batch the lines that this gateway has on an upstream.
// It is empty while the engine does not run.
func (e *Engine) LinesInFlight(ctx context.Context) map[string]int64 {
	counts := make(map[string]int64)
	for id, models := range e.linesInFlight(ctx) {
		for _, n := range models {
			counts[id] += n
		}
	}
	return counts
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

// Space is what there is of room for contents, in bytes.
type Space struct {
	Total, Free int64
	Reserve     int64 // of Free, what is left free on purpose
}

// spareSpace is which part of the room is to be free besides the reserve.
const spareSpace = 0.1

// Full tells whether nothing is taken in any more.
func (s Space) Full() bool { return s.Free < s.Reserve }

// Filling tells whether that may be so soon.
func (s Space) Filling() bool {
	return !s.Full() && float64(s.Free-s.Reserve) < spareSpace*float64(s.Total)
}

func (s Space) String() string {
	return fmt.Sprintf("%s of %s are free, of which %s are kept in reserve", size(s.Free), size(s.Total), size(s.Reserve))
}

func size(n int64) string { return humanize.IBytes(uint64(max(n, 0))) }

// Measured is what Files offer besides, if the room that they have is known.
type Measured interface {
	Space() (Space, error)
}

// Space measures the room for contents; known is false where there is no such
// bound, as in an object store.
func (e *Engine) Space() (s Space, known bool, err error) {
	m, ok := e.files.(Measured)
	if !ok {
		return Space{}, false, nil
	}
	s, err = m.Space()
	if errors.Is(err, errors.ErrUnsupported) {
		return Space{}, false, nil
	}
	return s, err == nil, err
}
