package vllmsim

import (
	"slices"
	"sync"
	"time"
)

// metrics are the metrics of GET /metrics, with the names, labels and buckets of
// vllm/v1/metrics/loggers.py (https://docs.vllm.ai/en/latest/usage/metrics/).
type metrics struct {
	newer bool // names of vLLM 0.32 instead of 0.11
	began time.Time

	mu      sync.Mutex // guards the following fields
	tally   tally
	stepped time.Time // when steps was counted last without an engine
	lag     *lag      // with an engine; nil for none
}

// tally has counts and durations.
type tally struct {
	prompt, cached, generation float64 // tokens
	cacheQueries, cacheHits    float64 // tokens
	stop, length, abort, bad   float64 // requests by finished_reason
	rejected                   float64 // requests by the limit on unfinished ones
	ttft, itl, tpot            histogram
	endToEnd, queued           histogram
	prefill, decode, inference histogram
	prompts, generations       histogram // tokens of a request
	computed                   histogram // tokens of a prompt that were not cached
	steps                      histogram // tokens of an iteration
}

// stepTime is the duration of a simulated iteration of the engine.
const stepTime = 10 * time.Millisecond

var (
	stepBuckets    = []float64{1, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096, 8192, 16384}
	ttftBuckets    = []float64{0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10, 20, 40, 80, 160, 640, 2560}
	tokenBuckets   = []float64{0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1, 2.5, 5, 7.5, 10, 20, 40, 80}
	lengthBuckets  = []float64{1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10000, 20000, 50000, 100000} // to 131072
	requestBuckets = []float64{0.3, 0.5, 0.8, 1, 1.5, 2, 2.5, 5, 10, 15, 20, 30, 40, 50, 60, 120, 240, 480, 960, 1920, 7680}
)

func newMetrics(newer bool) *metrics {
	now := time.Now()
	return &metrics{
		newer: newer,
		began: now,
		tally: tally{
			ttft: newHistogram(ttftBuckets), itl: newHistogram(tokenBuckets), tpot: newHistogram(tokenBuckets),
			endToEnd: newHistogram(requestBuckets), queued: newHistogram(requestBuckets),
			prefill: newHistogram(requestBuckets), decode: newHistogram(requestBuckets), inference: newHistogram(requestBuckets),
			prompts: newHistogram(lengthBuckets), computed: newHistogram(lengthBuckets), generations: newHistogram(lengthBuckets),
			steps: newHistogram(stepBuckets),
		},
		stepped: now,
	}
}

// clone copies the tally, histograms included.
func (t *tally) clone() tally {
	c := *t
	for _, h := range []*histogram{&c.ttft, &c.itl, &c.tpot, &c.endToEnd, &c.queued, &c.prefill, &c.decode, &c.inference, &c.prompts, &c.computed, &c.generations, &c.steps} {
		h.counts = slices.Clone(h.counts)
	}
	return c
}

// finished has the measurements of an answered request.
type finished struct {
	answer            *answer
	generates         bool
	queued, ttft, all time.Duration // since it came
	itl, gap          time.Duration // as configured: tokens are not timed one by one
}

// finish counts a request that ran without an engine.
func (m *metrics) finish(f finished) {
	a := f.answer
	m.mu.Lock()
	defer m.mu.Unlock()
	t := &m.tally
	t.prompt += float64(a.prompt)
	t.cached += float64(a.cached)
	t.cacheQueries += float64(a.prompt)
	t.cacheHits += float64(a.cached)
	t.generation += float64(a.completion())
	t.ended(a.cut)
	t.prompts.observe(float64(a.prompt), 1)
	t.computed.observe(float64(a.prompt-a.cached), 1)
	t.queued.observe(f.queued.Seconds(), 1)
	t.endToEnd.observe(f.all.Seconds(), 1)
	if !f.generates {
		return
	}
	t.ttft.observe(f.ttft.Seconds(), 1)
	t.prefill.observe(max(0, f.ttft-f.queued).Seconds(), 1)
	t.generations.observe(float64(a.tokens), a.choices)
	t.inference.observe((f.all - f.queued).Seconds(), 1)
	gaps := a.tokens - 1
	t.decode.observe((f.itl*time.Duration(gaps) + f.gap).Seconds(), 1)
	perToken := []*histogram{&t.itl}
	if m.newer {
		mean := 0.0
		if gaps > 0 {
			mean = (f.itl + f.gap/time.Duration(gaps)).Seconds()
		}
		t.tpot.observe(mean, 1) // per request
	} else {
		perToken = append(perToken, &t.tpot)
	}
	for _, h := range perToken {
		if n := gaps - 1; f.gap > 0 && gaps > 0 {
			h.observe(f.itl.Seconds(), n)
			h.observe((f.itl + f.gap).Seconds(), 1)
			continue
		}
		h.observe(f.itl.Seconds(), gaps)
	}
}

// ended counts an answered request; cut means that max_tokens ended it.
func (t *tally) ended(cut bool) {
	if cut {
		t.length++
	} else {
		t.stop++
	}
}

func (m *metrics) aborted() { m.count(func(t *tally) { t.abort++ }) }

func (m *metrics) failed() { m.count(func(t *tally) { t.bad++ }) }

func (m *metrics) rejected() { m.count(func(t *tally) { t.rejected++ }) }

func (m *metrics) count(add func(*tally)) {
	m.mu.Lock()
	defer m.mu.Unlock()
	add(&m.tally)
}

// step counts the iterations since its last call. In each, every request that makes
// progress had a token. m.mu is held.
func (m *metrics) step(progressing int) {
	n := int(time.Since(m.stepped) / stepTime)
	m.stepped = m.stepped.Add(time.Duration(n) * stepTime)
	if progressing > 0 {
		m.tally.steps.observe(float64(progressing), n)
	}
}

// reading has the values of /metrics at one time.
type reading struct {
	tally
	running, waiting int
	kvUsage          float64
	preemptions      int
}

// read returns the metrics of a server without an engine. hung is the number of running
// requests that make no progress.
func (m *metrics) read(running, waiting, hung, limit int) reading {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.step(running - hung)
	return reading{tally: m.tally.clone(), running: running, waiting: waiting, kvUsage: kvFull * float64(running) / float64(limit)}
}
