package engine

import (
	"context"
	"errors"
	"time"

	"github.com/tidegate/tidegate/batch"
	"github.com/tidegate/tidegate/internal/openai"
)

// Capacity holds the limits of the batch work that a gateway does at a time.
type Capacity struct {
	MaxInFlight          int // lines
	MaxConcurrentBatches int
	Memory               batch.Memory
	Role                 batch.Role // without work, the first two are not used
}

// Capacity returns the current limits of this gateway.
func (r *Reads) Capacity() Capacity {
	return Capacity{r.scheduler.MaxInFlight(), r.config().MaxConcurrentBatches, r.scheduler.Memory(time.Now()), r.Role()}
}

// InFlight returns how many lines this gateway has sent that are not durable yet.
func (r *Reads) InFlight() int64 { return r.scheduler.Metrics().InFlight() }

// LinesInFlight counts by batch the lines that this gateway has on an upstream.
// It is empty while the engine does not run.
func (r *Reads) LinesInFlight(ctx context.Context) map[string]int64 {
	counts := make(map[string]int64)
	for id, models := range r.scheduler.LinesInFlight(ctx) {
		for _, n := range models {
			counts[id] += n
		}
	}
	return counts
}

// Space measures the room for contents; known is false where there is no such
// bound, as in an object store.
func (r *Reads) Space() (s batch.Space, known bool, err error) {
	m := r.files.Capabilities().Space
	if m == nil {
		return batch.Space{}, false, nil
	}
	s, err = m.Space()
	if errors.Is(err, errors.ErrUnsupported) {
		return batch.Space{}, false, nil
	}
	return s, err == nil, err
}

// Tokens returns the tokens of lines that this gateway has made durable, by model;
// models beyond modellabel.Limit are modellabel.Other.
func (r *Reads) Tokens() map[string]openai.Usage { return r.scheduler.Metrics().Tokens() }
