package webhook

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/tidegate/tidegate/batch"
)

// metrics counts attempts.
type metrics struct{ attempts *prometheus.CounterVec }

func newMetrics() metrics {
	m := metrics{prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "tidegate_webhook_attempts_total",
		Help: "Attempts to deliver a webhook: delivered, retried later, or given up.",
	}, []string{"result"})}
	for _, state := range []batch.DeliveryState{batch.DeliveryDelivered, batch.DeliveryPending, batch.DeliveryFailed} {
		m.attempts.WithLabelValues(results[state])
	}
	return m
}

// results are the values of the label result.
var results = map[batch.DeliveryState]string{batch.DeliveryDelivered: "delivered", batch.DeliveryPending: "retried", batch.DeliveryFailed: "failed"}

func (m metrics) count(s batch.DeliveryState) { m.attempts.WithLabelValues(results[s]).Inc() }

// Collector collects the sender's metrics.
func (s *Sender) Collector() prometheus.Collector { return s.metrics.attempts }
