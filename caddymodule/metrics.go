package caddymodule

import (
	"errors"
	"fmt"
	"runtime/debug"

	"github.com/caddyserver/caddy/v2"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/tidegate/tidegate/internal/openai"
)

// registerMetrics registers the pool's and the engine's metrics in a configuration's
// registry.
func registerMetrics(ctx caddy.Context, r *runtime) error {
	for _, c := range []prometheus.Collector{r.pool.Collector(), r.engine.Collector(), r.hooks.Collector(), r.audit, r.pool.limits.Collector(), tokenMetrics{r}, buildInfo()} {
		err := ctx.GetMetricsRegistry().Register(c)
		if _, again := errors.AsType[prometheus.AlreadyRegisteredError](err); err != nil && !again {
			return fmt.Errorf("registering metrics: %w", err)
		}
	}
	return nil
}

// tokenMetrics collects the tokens of all classes, counted by the pool and the
// engine.
type tokenMetrics struct{ of *runtime }

var descTokens = prometheus.NewDesc("tidegate_model_tokens_total",
	"Tokens that answers report as used, of live and flex requests and of batch lines with a durable result: input, cached_input (part of input), output, reasoning (part of output).",
	[]string{"model", "class", "kind"}, nil)

// Describe implements prometheus.Collector.
func (tokenMetrics) Describe(ch chan<- *prometheus.Desc) { ch <- descTokens }

// Collect implements prometheus.Collector.
func (t tokenMetrics) Collect(ch chan<- prometheus.Metric) {
	collect := func(model, class string, u openai.Usage) {
		for _, of := range []struct {
			kind string
			n    int64
		}{
			{"input", u.InputTokens},
			{"cached_input", u.InputTokensDetails.CachedTokens},
			{"output", u.OutputTokens},
			{"reasoning", u.OutputTokensDetails.ReasoningTokens},
		} {
			ch <- prometheus.MustNewConstMetric(descTokens, prometheus.CounterValue, float64(of.n), model, class, of.kind)
		}
	}
	for _, c := range t.of.pool.Tokens() {
		collect(c.Model, c.Class, c.Usage)
	}
	for model, u := range t.of.engine.Tokens() {
		collect(model, "batch", u)
	}
}

// buildInfo returns a constant metric with the version of the running program as a
// label.
func buildInfo() prometheus.Collector {
	labels := prometheus.Labels{"version": Version(), "revision": "", "goversion": ""}
	if info, ok := debug.ReadBuildInfo(); ok {
		labels["goversion"] = info.GoVersion
		for _, s := range info.Settings {
			if s.Key == "vcs.revision" {
				labels["revision"] = s.Value
			}
		}
	}
	g := prometheus.NewGauge(prometheus.GaugeOpts{Name: "tidegate_build_info", Help: "Always 1; the labels have the version of the gateway.", ConstLabels: labels})
	g.Set(1)
	return g
}
