package upstreams

import "github.com/prometheus/client_golang/prometheus"

var (
	descPending = prometheus.NewDesc("tidegate_upstream_pending_prefill_tokens", "Tokens of prompts that this gateway sent to the upstream and that it still has to read, as estimated, without those in its prefix cache.", []string{"upstream"}, nil)
	descPrefill = prometheus.NewDesc("tidegate_upstream_prefill_tokens_per_second", "Tokens of prompts that the upstream reads in a second, as learned. Not there before it is known.", []string{"upstream"}, nil)
)

var prefillDescs = []*prometheus.Desc{descPending, descPrefill}

// collectPrefill collects the pending prefill and the prefill speed of an upstream.
func collectPrefill(u *UpstreamStatus, gauge func(d *prometheus.Desc, v float64, labels ...string)) {
	gauge(descPending, float64(u.PendingPrefillTokens), u.URL)
	if u.PrefillSpeed > 0 {
		gauge(descPrefill, u.PrefillSpeed, u.URL)
	}
}
