package caddymodule

import (
	"errors"
	"fmt"

	"github.com/caddyserver/caddy/v2"
	"github.com/prometheus/client_golang/prometheus"
)

// registerMetrics has a configuration's registry show the pool and the engine.
func registerMetrics(ctx caddy.Context, r *runtime) error {
	for _, c := range []prometheus.Collector{r.pool.Collector(), r.engine.Collector()} {
		err := ctx.GetMetricsRegistry().Register(c)
		if _, again := errors.AsType[prometheus.AlreadyRegisteredError](err); err != nil && !again {
			return fmt.Errorf("registering metrics: %w", err)
		}
	}
	return nil
}
