package caddymodule

import (
	"fmt"
	"net/http"
	"slices"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"go.uber.org/zap"

	"github.com/tidegate/tidegate/access"
	"github.com/tidegate/tidegate/internal/openai"
)

// MetricsConfig configures access to GET /metrics. By default access is the same as
// for the dashboard: with an API key if any is configured, otherwise from this
// machine only (from everywhere with `auth off`).
type MetricsConfig struct {
	// Off disables /metrics on the gateway's own sites. Caddy's admin endpoint and its
	// directive `metrics` are not affected. Default: false.
	Off bool `json:"off,omitempty"`
	// Public allows every client that reaches the gateway to read. Default: false.
	Public bool `json:"public,omitempty"`
	// Keys are accepted for metrics only, in addition to api_keys. If any is
	// configured, a key is required. Default: none.
	Keys []string `json:"keys,omitempty"`
}

// unmarshal parses it:
//
//	metrics [off|public|keys <key...>]
func (m *MetricsConfig) unmarshal(d *caddyfile.Dispenser) error {
	if !d.NextArg() {
		return nil // the environment variable is empty
	}
	switch kind := d.Val(); kind {
	case "off":
		m.Off = true
	case "public":
		m.Public = true
	case "keys":
		m.Keys = d.RemainingArgs()
		if slices.ContainsFunc(m.Keys, func(key string) bool { return len(splitKeys(key)) == 0 }) {
			return d.Err("metrics keys: a key is empty")
		}
		return nil // none: the environment variable is empty
	default:
		return d.Errf("metrics must be off, public or keys, not %q", kind)
	}
	if d.NextArg() {
		return d.ArgErr()
	}
	return nil
}

// Limits of concurrent scrapes, which use the gateway's memory and time.
const (
	scrapesAtOnce = 4
	scrapeTimeout = 10 * time.Second
)

// newMetricsHandler returns the handler of a configuration's registry, which Caddy's
// admin endpoint exposes, too.
func newMetricsHandler(ctx caddy.Context, log *zap.Logger) (http.Handler, error) {
	logger, err := zap.NewStdLogAt(log.Named("metrics"), zap.WarnLevel)
	if err != nil {
		return nil, fmt.Errorf("metrics: %w", err)
	}
	return promhttp.HandlerFor(ctx.GetMetricsRegistry(), promhttp.HandlerOpts{
		ErrorLog: logger, ErrorHandling: promhttp.ContinueOnError, EnableOpenMetrics: true,
		MaxRequestsInFlight: scrapesAtOnce, Timeout: scrapeTimeout,
	}), nil
}

// mayScrape returns the error for a request that may not read metrics, nil if it may.
func (h *APIHandler) mayScrape(r *http.Request) *openai.Error {
	cfg := &h.app.Metrics
	if cfg.Public {
		return nil
	}
	if len(cfg.Keys) > 0 {
		if h.scrapers.admits(r) {
			return nil
		}
		if c, err := h.authenticate(r); err != nil || c.known() {
			return mayRead(c, err)
		}
		return openai.InvalidAPIKey()
	}
	return mayRead(h.identify(r, h.guard.checkReader))
}

// mayRead returns the error for a client that may not read metrics, which are those of
// all tenants.
func mayRead(c client, err *openai.Error) *openai.Error {
	if err == nil && !c.May(access.Operate) {
		return openai.MissingScope(string(access.Operate))
	}
	return err
}

// metrics answers GET /metrics.
func (h *APIHandler) metrics(w http.ResponseWriter, r *http.Request) {
	if err := h.mayScrape(r); err != nil {
		if err.Status == http.StatusUnauthorized {
			w.Header()["Www-Authenticate"] = []string{"Bearer", `Basic realm="Tidegate: any name, a key as password", charset="UTF-8"`}
		}
		openai.WriteError(w, r, err)
		return
	}
	if !reads(w, r) {
		return
	}
	h.exposition.ServeHTTP(w, r)
}
