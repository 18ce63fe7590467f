package caddymodule

import (
	"fmt"
	"net/http"
	"slices"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	dto "github.com/prometheus/client_model/go"
	"go.uber.org/zap"

	"github.com/tidegate/tidegate/access"
	"github.com/tidegate/tidegate/internal/modellabel"
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

// exposition writes metrics.
type exposition struct {
	registry prometheus.Gatherer
	log      promhttp.Logger
	all      http.Handler  // for clients that see all models
	turns    chan struct{} // of other clients
}

// newExposition returns the exposition of a configuration's registry, which Caddy's admin
// endpoint exposes, too.
func newExposition(ctx caddy.Context, log *zap.Logger) (*exposition, error) {
	logger, err := zap.NewStdLogAt(log.Named("metrics"), zap.WarnLevel)
	if err != nil {
		return nil, fmt.Errorf("metrics: %w", err)
	}
	e := &exposition{registry: ctx.GetMetricsRegistry(), log: logger, turns: make(chan struct{}, scrapesAtOnce)}
	e.all = e.handler(e.registry)
	return e, nil
}

func (e *exposition) handler(of prometheus.Gatherer) http.Handler {
	return promhttp.HandlerFor(of, promhttp.HandlerOpts{
		ErrorLog: e.log, ErrorHandling: promhttp.ContinueOnError, EnableOpenMetrics: true,
		MaxRequestsInFlight: scrapesAtOnce, Timeout: scrapeTimeout,
	})
}

// serve writes the metrics that a client sees.
func (e *exposition) serve(w http.ResponseWriter, r *http.Request, client access.Identity) {
	if len(client.Models) == 0 {
		e.all.ServeHTTP(w, r)
		return
	}
	select {
	case e.turns <- struct{}{}:
		defer func() { <-e.turns }()
	default:
		openai.WriteError(w, r, openai.Unavailable(startingRetry, "Too many requests for metrics at once."))
		return
	}
	e.handler(prometheus.GathererFunc(func() ([]*dto.MetricFamily, error) {
		all, err := e.registry.Gather()
		return visibleMetrics(client, all), err
	})).ServeHTTP(w, r)
}

// visibleMetrics returns the metrics without series of models that a client does not see.
func visibleMetrics(client access.Identity, all []*dto.MetricFamily) []*dto.MetricFamily {
	hidden := func(l *dto.LabelPair) bool {
		return l.GetName() == "model" && l.GetValue() != modellabel.Other && !client.Sees(l.GetValue())
	}
	for _, family := range all {
		family.Metric = slices.DeleteFunc(family.Metric, func(m *dto.Metric) bool { return slices.ContainsFunc(m.Label, hidden) })
	}
	return slices.DeleteFunc(all, func(family *dto.MetricFamily) bool { return len(family.Metric) == 0 })
}

// scraper returns the client of a request for metrics, or why it may not read them. Clients
// that need no key of the gateway see all.
func (h *APIHandler) scraper(r *http.Request) (access.Identity, *openai.Error) {
	cfg := &h.app.Metrics
	if cfg.Public {
		return access.Everyone(), nil
	}
	if len(cfg.Keys) > 0 {
		if h.scrapers.admits(r) {
			return access.Everyone(), nil
		}
		if c, err := h.authenticate(r); err != nil || c.known() {
			return mayRead(c, err)
		}
		return access.Identity{}, openai.InvalidAPIKey()
	}
	return mayRead(h.identify(r, h.guard.checkReader))
}

// mayRead returns a client, or an error if it may not read metrics, which are those of all
// tenants.
func mayRead(c client, err *openai.Error) (access.Identity, *openai.Error) {
	if err == nil && !c.May(access.Operate) {
		err = openai.MissingScope(string(access.Operate))
	}
	return c.Identity, err
}

// metrics answers GET /metrics.
func (h *APIHandler) metrics(w http.ResponseWriter, r *http.Request) {
	client, err := h.scraper(r)
	if err != nil {
		if err.Status == http.StatusUnauthorized {
			w.Header()["Www-Authenticate"] = []string{"Bearer", `Basic realm="Tidegate: any name, a key as password", charset="UTF-8"`}
		}
		openai.WriteError(w, r, err)
		return
	}
	if !reads(w, r) {
		return
	}
	h.exposition.serve(w, r, client)
}
