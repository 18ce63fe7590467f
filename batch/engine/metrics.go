package engine

import (
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/tidegate/tidegate/batch/scheduler"
)

// metrics are the counters of an engine for Prometheus, for the lifetime of the engine.
type metrics struct {
	scheduler *scheduler.Scheduler
	times     *operationTimes
	backlog   *backlog
	expired   atomic.Int64 // batches

	quarantine *atomic.Pointer[Quarantine]
	missing    *atomic.Pointer[Missing]
}

var (
	descUnknown = prometheus.NewDesc("tidegate_batch_contents_unknown", "Contents without a row in the database, as of the last check; they are quarantined.", nil, nil)
	descMissing = prometheus.NewDesc("tidegate_batch_contents_missing", "Files whose content is missing, as of the last check.", nil, nil)
)

// Collector collects the engine's metrics, named tidegate_batch_*. It is always
// the same one and may be registered in several registries.
func (e *Engine) Collector() prometheus.Collector { return &e.metrics }

// Describe implements prometheus.Collector.
func (m *metrics) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{descUnknown, descMissing} {
		ch <- d
	}
	for _, d := range backlogDescs {
		ch <- d
	}
	m.scheduler.Metrics().Describe(ch)
	m.times.Describe(ch)
}

// Collect implements prometheus.Collector.
func (m *metrics) Collect(ch chan<- prometheus.Metric) {
	if q := m.quarantine.Load(); q != nil {
		ch <- prometheus.MustNewConstMetric(descUnknown, prometheus.GaugeValue, float64(q.Unknown))
	}
	if missing := m.missing.Load(); missing != nil {
		ch <- prometheus.MustNewConstMetric(descMissing, prometheus.GaugeValue, float64(missing.Files))
	}
	m.scheduler.Metrics().Collect(ch)
	m.times.Collect(ch)
	m.backlog.collect(ch)
}
