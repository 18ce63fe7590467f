package upstreams

import "github.com/prometheus/client_golang/prometheus"

var (
	descPending = prometheus.NewDesc("tidegate_upstream_pending_prefill_tokens", "Estimated prompt tokens that this gateway sent to the upstream and that it has not processed yet, without those in its prefix cache.", []string{"upstream"}, nil)
	descPrefill = prometheus.NewDesc("tidegate_upstream_prefill_tokens_per_second", "Prompt tokens that the upstream processes per second, as measured; absent before the first measurement.", []string{"upstream"}, nil)
)

var prefillDescs = []*prometheus.Desc{descPending, descPrefill}

// collectPrefill collects the pending prefill and the prefill speed of an upstream.
func collectPrefill(u *UpstreamStatus, gauge func(d *prometheus.Desc, v float64, labels ...string)) {
	gauge(descPending, float64(u.PendingPrefillTokens), u.URL)
	if u.PrefillSpeed > 0 {
		gauge(descPrefill, u.PrefillSpeed, u.URL)
	}
}
