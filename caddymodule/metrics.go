package caddymodule

import (
	"errors"

	"github.com/caddyserver/caddy/v2"
	"github.com/prometheus/client_golang/prometheus"
)

// registerMetrics has a configuration's registry show the pool.
func registerMetrics(ctx caddy.Context, r *runtime) error {
	err := ctx.GetMetricsRegistry().Register(r.pool.Collector())
	if _, again := errors.AsType[prometheus.AlreadyRegisteredError](err); again {
		return nil
	}
	return err
}
