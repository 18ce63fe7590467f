package upstreams

import (
	"slices"
	"strings"
	"sync"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/tidegate/tidegate/internal/modellabel"
	"github.com/tidegate/tidegate/internal/openai"
)

// tokenBuckets are the histogram buckets of the time between two tokens, in seconds.
var tokenBuckets = []float64{.001, .0025, .005, .01, .015, .02, .03, .04, .05, .075, .1, .15, .2, .3, .5, 1, 2.5}

// modelMetrics counts live requests by model. A series begins with the first request
// for a model; labels limits the number of series.
type modelMetrics struct {
	labels                      *modellabel.Set
	durations, ttfts, intervals *prometheus.HistogramVec
	tokens                      *tokenCounts
}

func newModelMetrics() modelMetrics {
	histogram := func(name, help string, buckets []float64) *prometheus.HistogramVec {
		return prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: name, Help: help, Buckets: buckets}, []string{"model"})
	}
	return modelMetrics{
		labels:    new(modellabel.Set),
		durations: histogram("tidegate_model_live_request_duration_seconds", "Duration of live requests by model, from their arrival to the end of the answer, without those of the service tier flex.", liveBuckets),
		ttfts:     histogram("tidegate_model_live_time_to_first_token_seconds", "Time from the arrival of a live request to the first event of its stream by model, without those of the service tier flex.", liveBuckets),
		intervals: histogram("tidegate_model_live_inter_token_latency_seconds", "Time between the tokens of a live stream by model, one average for each stream, without those of the service tier flex.", tokenBuckets),
		tokens:    &tokenCounts{cells: make(map[tokenCell]*openai.Usage)},
	}
}

// observe counts a request that has ended.
func (m *modelMetrics) observe(done *LiveRequest) {
	model := m.labels.Of(done.Model)
	if done.HasUsage && !done.Estimated {
		m.tokens.add(tokenCell{model, queueNames[done.Class]}, done.Usage)
	}
	if done.Class != Live {
		return
	}
	m.durations.WithLabelValues(model).Observe(done.Duration.Seconds())
	if done.TTFT > 0 {
		m.ttfts.WithLabelValues(model).Observe(done.TTFT.Seconds())
	}
	if done.ITL > 0 {
		m.intervals.WithLabelValues(model).Observe(done.ITL.Seconds())
	}
}

// Describe implements prometheus.Collector.
func (m *modelMetrics) Describe(ch chan<- *prometheus.Desc) {
	m.durations.Describe(ch)
	m.ttfts.Describe(ch)
	m.intervals.Describe(ch)
}

// Collect implements prometheus.Collector.
func (m *modelMetrics) Collect(ch chan<- prometheus.Metric) {
	m.durations.Collect(ch)
	m.ttfts.Collect(ch)
	m.intervals.Collect(ch)
}

// TokenCount sums the token usage of a class of requests for a model since the pool
// was created.
type TokenCount struct {
	Model string // bounded, see modellabel.Set
	Class string // "live" or "flex"
	Usage openai.Usage
}

// Tokens returns the tokens of live and flex requests by model, without zero counts.
func (p *Pool) Tokens() []TokenCount { return p.metrics.models.tokens.list() }

type tokenCell struct{ model, class string }

// tokenCounts sums token usage.
type tokenCounts struct {
	mu    sync.Mutex
	cells map[tokenCell]*openai.Usage // guarded by mu
}

func (t *tokenCounts) add(at tokenCell, u openai.Usage) {
	t.mu.Lock()
	defer t.mu.Unlock()
	sum := t.cells[at]
	if sum == nil {
		sum = new(openai.Usage)
		t.cells[at] = sum
	}
	sum.Add(u)
}

func (t *tokenCounts) list() []TokenCount {
	t.mu.Lock()
	defer t.mu.Unlock()
	all := make([]TokenCount, 0, len(t.cells))
	for at, sum := range t.cells {
		all = append(all, TokenCount{Model: at.model, Class: at.class, Usage: *sum})
	}
	slices.SortFunc(all, func(a, b TokenCount) int {
		return strings.Compare(a.Model+"\x00"+a.Class, b.Model+"\x00"+b.Class)
	})
	return all
}
