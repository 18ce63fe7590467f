// Package metricstest reads the metrics of a collector in tests.
package metricstest

import (
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
)

// Gather returns the series of a collector by name and labels, as in
// `requests_total{code=200,model=m}`: values of gauges and counters, counts of
// histograms. It fails the test for metrics that Prometheus would refuse.
func Gather(tb testing.TB, c prometheus.Collector) map[string]float64 {
	tb.Helper()
	registry := prometheus.NewPedanticRegistry()
	if err := registry.Register(c); err != nil {
		tb.Fatalf("registering the collector: %v", err)
	}
	families, err := registry.Gather()
	if err != nil {
		tb.Fatalf("gathering metrics: %v", err)
	}
	got := make(map[string]float64)
	for _, family := range families {
		for _, m := range family.GetMetric() {
			labels := make([]string, 0, len(m.GetLabel()))
			for _, l := range m.GetLabel() {
				labels = append(labels, l.GetName()+"="+l.GetValue())
			}
			name := family.GetName() + "{" + strings.Join(labels, ",") + "}"
			switch {
			case m.Gauge != nil:
				got[name] = m.Gauge.GetValue()
			case m.Counter != nil:
				got[name] = m.Counter.GetValue()
			default:
				got[name] = float64(m.Histogram.GetSampleCount())
			}
		}
	}
	return got
}
