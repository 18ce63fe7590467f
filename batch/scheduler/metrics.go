package scheduler

import (
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/tidegate/tidegate/batch"
)

// Metrics counts what a Scheduler did. It implements prometheus.Collector.
type Metrics struct {
	lines             *lineMetrics
	inFlight          atomic.Int64 // as of the last round of the loop
	memory            atomic.Int64 // bytes of requests, likewise
	completed, failed atomic.Int64 // lines with a durable result
	commits           atomic.Int64
	refused           atomic.Int64 // results
	lost              atomic.Int64 // claims
	short             atomic.Int64 // checks that found slots idle because the memory limit was reached
	reread            atomic.Int64 // deferred requests
}

var (
	descInFlight = prometheus.NewDesc("tidegate_batch_lines_in_flight", "Batch lines that this gateway has sent and that have no durable result yet.", nil, nil)
	descLines    = prometheus.NewDesc("tidegate_batch_lines_total", "Batch lines whose result this gateway has made durable, by outcome.", []string{"outcome"}, nil)
	descCommits  = prometheus.NewDesc("tidegate_batch_commits_total", "Commits to the store, each of a group of results, by this gateway.", nil, nil)
	descRefused  = prometheus.NewDesc("tidegate_batch_results_refused_total", "Results that the store refused because the claim on their slice was no longer valid: another gateway had claimed it, or the batch had ended.", nil, nil)
	descMemory   = prometheus.NewDesc("tidegate_batch_memory_bytes", "Memory in use for requests of batch lines that are in flight or prefetched, and for the order of lines whose requests are not in memory.", nil, nil)
	descShort    = prometheus.NewDesc("tidegate_batch_memory_short_total", "Checks, one a second, that found idle batch slots because the request memory limit was reached.", nil, nil)
	descReread   = prometheus.NewDesc("tidegate_batch_requests_reread_total", "Requests of batch lines that this gateway has read from the input again when their lines started, because the requests of their batch do not fit into memory.", nil, nil)
	descLost     = prometheus.NewDesc("tidegate_batch_claims_lost_total", "Claims on slices that this gateway lost because their leases had ended.", nil, nil)
)

var descs = []*prometheus.Desc{descInFlight, descLines, descCommits, descRefused, descLost, descMemory, descShort, descReread}

// Describe implements prometheus.Collector.
func (m *Metrics) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range descs {
		ch <- d
	}
	m.lines.durations.Describe(ch)
}

// Collect implements prometheus.Collector.
func (m *Metrics) Collect(ch chan<- prometheus.Metric) {
	counter := func(d *prometheus.Desc, n *atomic.Int64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, float64(n.Load()), labels...)
	}
	ch <- prometheus.MustNewConstMetric(descInFlight, prometheus.GaugeValue, float64(m.inFlight.Load()))
	ch <- prometheus.MustNewConstMetric(descMemory, prometheus.GaugeValue, float64(m.memory.Load()))
	counter(descLines, &m.completed, "completed")
	counter(descLines, &m.failed, "failed")
	counter(descCommits, &m.commits)
	counter(descRefused, &m.refused)
	counter(descLost, &m.lost)
	counter(descShort, &m.short)
	counter(descReread, &m.reread)
	m.lines.durations.Collect(ch)
}

// durable counts a result that has become durable.
func (m *Metrics) durable(r *batch.LineResult) {
	if r.Failed {
		m.failed.Add(1)
	} else {
		m.completed.Add(1)
	}
	m.lines.durable(r)
}

// InFlight returns the number of lines that were sent and have no durable result yet.
func (m *Metrics) InFlight() int64 { return m.inFlight.Load() }
