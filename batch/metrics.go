package batch

import (
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"
)

// metrics are what an engine counts for Prometheus, as long as it lives.
type metrics struct {
	inFlight *atomic.Int64
	memory   *atomic.Int64
	lines    *lineMetrics
	times    *operationTimes
	backlog  *backlog
	expired  atomic.Int64 // batches

	completed, failed atomic.Int64 // lines with a durable result
	commits           atomic.Int64
	refused           atomic.Int64 // results
	lost              atomic.Int64 // claims
	quarantine        *atomic.Pointer[Quarantine]
	missing           *atomic.Pointer[Missing]
	short             atomic.Int64 // looks that found slots free for want of memory
}

var (
	descInFlight = prometheus.NewDesc("tidegate_batch_lines_in_flight", "Lines of batches that this gateway has sent and that have no durable result yet.", nil, nil)
	descLines    = prometheus.NewDesc("tidegate_batch_lines_total", "Lines whose result this gateway has made durable.", []string{"outcome"}, nil)
	descCommits  = prometheus.NewDesc("tidegate_batch_commits_total", "Groups of results that this gateway has made durable.", nil, nil)
	descRefused  = prometheus.NewDesc("tidegate_batch_results_refused_total", "Results that the store refused because the claim on their slice had ended: another gateway has taken over, or the batch is over.", nil, nil)
	descMemory   = prometheus.NewDesc("tidegate_batch_memory_bytes", "Requests of batches in memory that are under way or read ahead.", nil, nil)
	descShort    = prometheus.NewDesc("tidegate_batch_memory_short_total", "Looks, one a second, that found slots free because no more requests fit into memory.", nil, nil)
	descUnknown  = prometheus.NewDesc("tidegate_batch_contents_unknown", "Contents that no row of the database names, as of the last round; they are quarantined.", nil, nil)
	descMissing  = prometheus.NewDesc("tidegate_batch_contents_missing", "Files whose content is missing, as of the last round.", nil, nil)
	descLost     = prometheus.NewDesc("tidegate_batch_claims_lost_total", "Claims on slices that this gateway gave up because they had ended.", nil, nil)
)

// Collector collects the engine's metrics, named tidegate_batch_*. It is always
// the same one and may be registered in several registries.
func (e *Engine) Collector() prometheus.Collector { return &e.metrics }

// Describe implements prometheus.Collector.
func (m *metrics) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{descInFlight, descLines, descCommits, descRefused, descLost, descMemory, descShort, descUnknown, descMissing} {
		ch <- d
	}
	for _, d := range backlogDescs {
		ch <- d
	}
	m.lines.durations.Describe(ch)
	m.times.Describe(ch)
}

// Collect implements prometheus.Collector.
func (m *metrics) Collect(ch chan<- prometheus.Metric) {
	counter := func(d *prometheus.Desc, n *atomic.Int64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, float64(n.Load()), labels...)
	}
	ch <- prometheus.MustNewConstMetric(descInFlight, prometheus.GaugeValue, float64(m.inFlight.Load()))
	ch <- prometheus.MustNewConstMetric(descMemory, prometheus.GaugeValue, float64(m.memory.Load()))
	if q := m.quarantine.Load(); q != nil {
		ch <- prometheus.MustNewConstMetric(descUnknown, prometheus.GaugeValue, float64(q.Unknown))
	}
	if missing := m.missing.Load(); missing != nil {
		ch <- prometheus.MustNewConstMetric(descMissing, prometheus.GaugeValue, float64(missing.Files))
	}
	counter(descLines, &m.completed, "completed")
	counter(descLines, &m.failed, "failed")
	counter(descCommits, &m.commits)
	counter(descRefused, &m.refused)
	counter(descLost, &m.lost)
	counter(descShort, &m.short)
	m.lines.durations.Collect(ch)
	m.times.Collect(ch)
	m.backlog.collect(ch)
}
