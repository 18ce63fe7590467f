package scheduler

import (
	"errors"
	"time"

	"github.com/tidegate/tidegate/batch"
)

// Stall handling. A batch queue stalls when its models have no upstream or no free slot,
// or when every line waits for its retry. A model is saturated when more of its lines wait
// than there are slots. Stalled batch queues, and those of a saturated model, keep their
// place, and batches of other models are served in addition, so that no upstream is idle
// because those of another model are full. Slices that wait for a model without an
// upstream are released: another gateway may reach one.

const (
	// stallTime is the duration of a condition after which other batches are served in
	// addition. A shorter outage of an upstream is ignored.
	stallTime = 2 * time.Second
	// saturationGap limits the time without a waiting line of a saturated model: between
	// two loads, or between two batches.
	saturationGap = 500 * time.Millisecond
)

// models tracks which models of active batches have no upstream, and which have too few
// slots.
type models struct {
	deps       *Dependencies
	named      map[string]bool       // Model of active batches, by the last refresh
	unroutable map[string]bool       // models without an upstream, as reported to health; false while a line tries one
	saturated  map[string]saturation // by model
}

// saturation is the time in which more lines of a model wait than there are slots.
type saturation struct{ since, last time.Time }

func newModels(deps *Dependencies) *models {
	return &models{deps: deps, unroutable: make(map[string]bool), saturated: make(map[string]saturation)}
}

// refreshed records the models of the active batches.
func (m *models) refreshed(batches []batch.Batch) {
	m.named = make(map[string]bool)
	for _, b := range batches {
		m.named[b.Model] = true
	}
}

// markUnroutable records that a model has no upstream.
func (m *models) markUnroutable(model string, why error) {
	m.unroutable[model] = true
	if errors.Is(why, batch.ErrAway) {
		why = nil // its lines start the servers
	}
	m.deps.Health.NoteModel(model, why)
}

// checkUnroutable finds the models that have an upstream again or are not named any more,
// and reports whether there is one. Batches whose lines all wait for such a model have no
// batch queue that would notice it.
func (m *models) checkUnroutable() (changed bool) {
	for model := range m.unroutable {
		if m.named[model] || m.named[""] {
			err := m.deps.Dispatcher.Up(model)
			if errors.Is(err, batch.ErrTrial) { // a line is needed for the trial
				changed = changed || m.unroutable[model]
				m.unroutable[model] = false
				continue
			}
			if err != nil {
				m.markUnroutable(model, err)
				continue
			}
		}
		delete(m.unroutable, model)
		m.deps.Health.NoteModel(model, nil)
		changed = true
	}
	return changed
}

// noteSaturated records the models that have no free slot. It reports whether one is
// saturated from now on. If known is false, other models were not asked for.
func (m *models) noteSaturated(full map[string]bool, known bool, now time.Time) (began bool) {
	for model := range full {
		c := m.saturated[model]
		if c.since.IsZero() {
			c.since = now
			began = true
		}
		m.saturated[model] = saturation{c.since, now}
	}
	for model, c := range m.saturated {
		switch {
		case !known:
			m.saturated[model] = saturation{c.since, now}
		case now.Sub(c.last) > saturationGap:
			delete(m.saturated, model)
		}
	}
	return began
}

// saturatedLong reports whether a model has been saturated for stallTime.
func (m *models) saturatedLong(model string, now time.Time) bool {
	c, is := m.saturated[model]
	return is && now.Sub(c.since) >= stallTime
}

// isStalled reports whether lines of a batch queue wait, and none runs or can start. full
// are the models without a free slot.
func (q *batchQueue) isStalled(full map[string]bool) bool {
	if q.running > 0 || q.nPending+q.backingOff == 0 {
		return false
	}
	for lane := range q.pending {
		if !full[lane.model] {
			return false
		}
	}
	return true
}
