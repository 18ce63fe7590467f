package scheduler

import (
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"github.com/tidegate/tidegate/batch"
)

const (
	// memoryCheckInterval limits how often memory pressure is evaluated.
	memoryCheckInterval = time.Second
	// shortageTTL is the time for which a shortage is reported.
	shortageTTL = time.Minute
)

// memoryPressure finds out whether slots stay idle because the memory limit for requests
// is reached.
type memoryPressure struct {
	deps    *Dependencies
	queues  *queueSet
	metrics *Metrics
	checked time.Time                // when the loop last evaluated it
	last    atomic.Pointer[shortage] // nil if there was none
}

// shortage records that slots stayed idle because the memory limit was reached.
type shortage struct {
	at     time.Time
	wanted int64 // bytes
}

// report returns the limit and, if it was reached lately while slots were idle, what would
// have filled them.
func (m *memoryPressure) report(now time.Time) batch.Memory {
	report := batch.Memory{Limit: m.deps.Config().MemoryBytes, Taken: m.metrics.memory.Load()}
	if s := m.last.Load(); s != nil && now.Sub(s.at) < shortageTTL {
		report.Wanted = s.wanted
	}
	return report
}

// check evaluates memory pressure, at most once in memoryCheckInterval. idle reports
// whether more lines may be in flight.
func (m *memoryPressure) check(idle bool, now time.Time) {
	if now.Sub(m.checked) < memoryCheckInterval || !idle {
		return
	}
	m.checked = now
	for _, q := range m.queues.byID {
		if m.short(q) && m.deps.Dispatcher.Free(q.batch.Model) {
			m.note(now)
			return
		}
	}
}

// short reports whether a batch queue has no line to start although the batch has lines
// that are not in memory, or cannot start one because its request does not fit. If most of
// its lines wait for their retry, the upstreams take no more. For a batch of several models
// it is not known which slots its next lines need.
func (m *memoryPressure) short(q *batchQueue) bool {
	if q.isPaused() || q.batch.Model == "" {
		return false
	}
	if q.noRoom {
		return true
	}
	if q.nPending > 0 || q.backingOff > q.running || !m.queues.budget.starves(q) {
		return false
	}
	c := q.batch.Counts
	return len(q.unread) > 0 || c.Total-c.Completed-c.Failed > q.left
}

// note records a shortage. What would fill the slots is estimated as twice the memory of a
// line for each slot.
func (m *memoryPressure) note(now time.Time) {
	limit := m.deps.Config().MemoryBytes
	latest := &shortage{now, max(2*limit, 2*int64(m.deps.Dispatcher.Slots())*m.queues.lineBytes())}
	before := m.last.Swap(latest)
	m.metrics.short.Add(1)
	if before == nil || now.Sub(before.at) >= shortageTTL {
		m.deps.Log.Warn("batch slots idle: request memory limit reached", zap.Int64("memory_bytes", limit), zap.Int64("wanted_bytes", latest.wanted))
	}
}
