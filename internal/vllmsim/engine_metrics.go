package vllmsim

import (
	"time"

	"github.com/tidegate/tidegate/internal/vllmsim/engine"
)

// DefaultMetricsLag is the age of /metrics with an engine. In vLLM the figures
// of a step leave the engine's process with its tokens and are added by the API
// server's event loop, which under load is behind by some tenths of a second.
const DefaultMetricsLag = 200 * time.Millisecond

// lag delays the values of /metrics. It stores recent readings, a few per delay.
type lag struct {
	by   time.Duration
	past []reading // of ascending times
	at   []time.Time
}

const readingsPerLag = 8

// add takes a reading, unless the last one is recent and rest is not set: an
// engine that comes to rest is read in any case.
func (l *lag) add(at time.Time, rest bool, read func() reading) {
	if n := len(l.at); n > 0 && !rest && at.Sub(l.at[n-1]) < l.by/readingsPerLag {
		return
	}
	l.past, l.at = append(l.past, read()), append(l.at, at)
	l.forget(at.Add(-l.by))
}

// forget drops readings that are older than the newest one before a time.
func (l *lag) forget(before time.Time) {
	n := 0
	for n+1 < len(l.at) && !l.at[n+1].After(before) {
		n++
	}
	if n > 0 {
		clear(l.past[:n])
		l.past, l.at = l.past[n:], l.at[n:]
	}
}

// Stepped implements engine.Observer.
func (m *metrics) Stepped(tokens int) {
	m.count(func(t *tally) { t.steps.observe(float64(tokens), 1) })
}

// Looked implements engine.Observer.
func (m *metrics) Looked(queries, hits int) {
	m.count(func(t *tally) {
		t.cacheQueries += float64(queries)
		t.cacheHits += float64(hits)
	})
}

// Generated implements engine.Observer.
func (m *metrics) Generated(q *engine.Sequence, first bool, since time.Duration) {
	m.mu.Lock()
	defer m.mu.Unlock()
	t := &m.tally
	t.generation++
	if !first {
		t.itl.observe(since.Seconds(), 1)
		if !m.newer {
			t.tpot.observe(since.Seconds(), 1) // the same figure under its older name
		}
		return
	}
	t.ttft.observe(since.Seconds(), 1)
	t.read(q)
}

// read counts a prompt that has been read.
func (t *tally) read(q *engine.Sequence) {
	t.prompt += float64(q.Prompt.Tokens)
	t.cached += float64(q.Cached())
}

// Finished implements engine.Observer.
func (m *metrics) Finished(q *engine.Sequence) {
	m.mu.Lock()
	defer m.mu.Unlock()
	t := &m.tally
	t.ended(q.Cut)
	arrived, scheduled, first, last := q.Times()
	t.prompts.observe(float64(q.Prompt.Tokens), 1)
	t.computed.observe(float64(q.Prompt.Tokens-max(0, q.Cached())), 1)
	t.queued.observe(scheduled.Sub(arrived).Seconds(), 1)
	t.endToEnd.observe(last.Sub(arrived).Seconds(), 1)
	if q.MaxTokens == 0 {
		t.read(q)
		return
	}
	t.generations.observe(float64(q.Generated()), 1)
	t.inference.observe(last.Sub(scheduled).Seconds(), 1)
	t.prefill.observe(first.Sub(scheduled).Seconds(), 1)
	t.decode.observe(last.Sub(first).Seconds(), 1)
	if m.newer {
		mean := 0.0
		if q.MaxTokens > 1 {
			mean = last.Sub(first).Seconds() / float64(q.MaxTokens-1)
		}
		t.tpot.observe(mean, 1)
	}
}

// publish records the current state of the engine.
func (m *metrics) publish(s engine.Snapshot) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.lag.add(s.At, s.Running+s.Waiting == 0, func() reading { return m.readEngine(s) })
}

// readEngine returns the metrics of a server with an engine. m.mu is held.
func (m *metrics) readEngine(s engine.Snapshot) reading {
	return reading{
		tally: m.tally.clone(), running: s.Running, waiting: s.Waiting,
		kvUsage: float64(s.KVUsed) / float64(s.KVTotal), preemptions: s.Preemptions,
	}
}

// readLate returns the newest reading that is old enough, or else the oldest.
func (m *metrics) readLate() reading {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.lag.forget(time.Now().Add(-m.lag.by))
	return m.lag.past[0]
}
