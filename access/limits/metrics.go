package limits

import "github.com/prometheus/client_golang/prometheus"

// collector exports the counters of a limiter.
type collector struct{ of *Limiter }

var (
	descRefused = prometheus.NewDesc("tidegate_limit_refused_total",
		"Live requests and new batches that a limit of their key or tenant refused, by the limit.", []string{"limit"}, nil)
	descWaited = prometheus.NewDesc("tidegate_limit_lines_postponed_total",
		"Attempts to start a line of a batch that a limit of its key or tenant postponed.", nil, nil)
)

// Collector returns the metrics of the limiter.
func (l *Limiter) Collector() prometheus.Collector { return collector{l} }

// Describe implements prometheus.Collector.
func (collector) Describe(ch chan<- *prometheus.Desc) { ch <- descRefused; ch <- descWaited }

// Collect implements prometheus.Collector.
func (c collector) Collect(ch chan<- prometheus.Metric) {
	for kind := range kinds {
		ch <- prometheus.MustNewConstMetric(descRefused, prometheus.CounterValue, float64(c.of.refused[kind].Load()), kind.String())
	}
	ch <- prometheus.MustNewConstMetric(descWaited, prometheus.CounterValue, float64(c.of.waited.Load()))
}
