package caddymodule

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/tidegate/tidegate/access"
	"github.com/tidegate/tidegate/batch"
	"github.com/tidegate/tidegate/batch/engine"
	"github.com/tidegate/tidegate/batch/httpapi"
	"github.com/tidegate/tidegate/doctor"
	"github.com/tidegate/tidegate/internal/openai"
	"github.com/tidegate/tidegate/upstreams"
)

func init() {
	caddy.RegisterModule(new(APIHandler))
	caddy.RegisterModule(new(ProxyHandler))
}

// door holds the parts of the app that both handlers use.
type door struct {
	app   *App
	guard guard
}

func (d *door) provision(ctx caddy.Context) error {
	app, err := ctx.AppIfConfigured("tidegate")
	if errors.Is(err, caddy.ErrNotConfigured) {
		return errNoApp
	}
	if err != nil {
		return err
	}
	d.app = app.(*App)
	d.app.hasHandler = true
	d.app.watchClients(ctx)
	d.guard = d.app.newGuard(ctx)
	d.app.listensOn(ctx)
	d.app.checkLogs(ctx)
	return nil
}

// startingRetry is the Retry-After of a gateway that is starting.
const startingRetry = 2 * time.Second

// anyScope is for requests whose scope depends on the route and is checked later.
const anyScope access.Scope = ""

// admit returns the request with its client, nil if it is not admitted: the client must
// have the scope, and the parts that the request needs must be open. It answers refused
// requests.
func (d *door) admit(w http.ResponseWriter, r *http.Request, part gate, scope access.Scope) *http.Request {
	if d.guard.cors.handle(w, r) {
		return nil
	}
	if scope != access.Live { // live requests change nothing
		r = withOrigin(w, r, access.ViaAPI)
	}
	route := r.URL.EscapedPath()
	r, err := d.client(w, r, d.guard.checkAPI)
	if err == nil && scope != anyScope && !access.From(r.Context()).May(scope) {
		err = openai.MissingScope(string(scope))
		openai.WriteError(w, r, err)
	}
	if err != nil {
		if privileged(scope) {
			d.app.runtime.refused(r.Context(), batch.AuditAdminRequest, operatorRoute(route), err)
		}
		return nil
	}
	if !part.wait(r) {
		problem := "The gateway is starting."
		if d.app.runtime.started.Load() {
			problem = "Files and batches are not available now: see GET /health for the reason."
		}
		openai.WriteError(w, r, openai.Unavailable(startingRetry, "%s", problem))
		return nil
	}
	return r
}

// client returns the request with its client, or why it was refused, which it has answered.
func (d *door) client(w http.ResponseWriter, r *http.Request, check func(*http.Request) *openai.Error) (*http.Request, *openai.Error) {
	permitted, err := d.permit(r, check)
	if err == nil {
		return permitted, nil
	}
	if err.Status == http.StatusUnauthorized {
		challenge(w, r)
	}
	openai.WriteError(w, r, err)
	return r, err
}

// basicChallenge makes a browser ask its user for a key.
const basicChallenge = `Basic realm="Tidegate: any name, an API key as password", charset="UTF-8"`

// challenge announces how to send a key. Reads without any key are offered Basic
// authentication too, for browsers and clients that need the challenge. Pages that
// sent a wrong key are not, because their browser would open a dialog.
func challenge(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	h.Set("WWW-Authenticate", "Bearer")
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		return
	}
	for _, name := range keyHeaderNames {
		if r.Header.Get(name) != "" {
			return
		}
	}
	if _, _, basic := r.BasicAuth(); basic || r.Header.Get("Authorization") == "" {
		h.Add("WWW-Authenticate", basicChallenge)
	}
}

// serveBody calls next with a request whose body is decoded and limited. See
// BodyConfig.withBody.
func (d *door) serveBody(w http.ResponseWriter, r *http.Request, limit int64, next http.Handler) {
	ready, release, err := d.app.Body.withBody(w, r, limit)
	if err != nil {
		openai.WriteError(w, r, err)
		return
	}
	defer release()
	next.ServeHTTP(w, ready)
}

// pace calls next with a request whose body is limited in slowness. See BodyConfig.paced.
func (d *door) pace(w http.ResponseWriter, r *http.Request, next func(*http.Request)) {
	watched, release := d.app.Body.paced(w, r)
	defer release()
	next(watched)
}

// APIHandler serves /v1/files, /v1/uploads, /v1/batches, /v1/keys, /v1/audit, the reports /v1/dashboard
// and /v1/analytics, /upstreams, /limits, /contents/adopt, /health, /ready, /doctor and
// /metrics. Other requests go to the next handler.
type APIHandler struct {
	door
	api        http.Handler
	exposition *exposition // of metrics
	scrapers   keyring     // MetricsConfig.Keys
}

// CaddyModule returns the Caddy module information.
func (*APIHandler) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "http.handlers.tidegate_api", New: func() caddy.Module { return new(APIHandler) }}
}

// Provision connects the handler to the app.
func (h *APIHandler) Provision(ctx caddy.Context) error {
	if err := h.provision(ctx); err != nil {
		return err
	}
	r := h.app.runtime
	h.api = httpapi.New(httpapi.Config{Identity: clientOf, Files: r.fileService(h.app.Batch.limits(), h.app.storageLimits()), Batches: r.engine, Receipts: &receipts{engine: r.engine, data: h.app.Data}, Log: r.log.Named("api")})
	var err error
	if h.scrapers, err = newKeyring(h.app.Metrics.Keys); err != nil {
		return fmt.Errorf("metrics: %w", err)
	}
	h.exposition, err = newExposition(ctx, r.log)
	return err
}

// ServeHTTP implements caddyhttp.MiddlewareHandler.
func (h *APIHandler) ServeHTTP(w http.ResponseWriter, r *http.Request, next caddyhttp.Handler) error {
	begun(w, r)
	switch path := r.URL.EscapedPath(); {
	case path == "/health":
		h.health(w, r)
	case path == "/ready":
		h.ready(w, r)
	case path == "/metrics" && !h.app.Metrics.Off:
		h.metrics(w, r)
	case path == "/doctor":
		if r = h.admit(w, r, h.app.pool.gate(), access.Operate); r != nil && reads(w, r) {
			h.doctor(w, r)
		}
	case path == "/contents/adopt":
		if r = h.admit(w, r, h.app.pool.gate(), access.Admin); r != nil {
			h.adopt(w, r)
		}
	case path == "/webhooks", path == "/webhooks/test":
		if r = h.admit(w, r, h.app.runtime.gate(), access.Admin); r != nil {
			h.pace(w, r, func(r *http.Request) { h.webhooks(w, r, path) })
		}
	case path == "/limits":
		if r = h.admit(w, r, h.app.pool.gate(), access.Read); r != nil && reads(w, r) {
			h.showLimits(w, r)
		}
	case path == "/upstreams":
		if r = h.admit(w, r, h.app.pool.gate(), access.Read); r != nil {
			h.upstreams(w, r, path)
		}
	case path == "/upstreams/drain", path == "/upstreams/undrain":
		if r = h.admit(w, r, h.app.pool.gate(), access.Operate); r != nil {
			h.pace(w, r, func(r *http.Request) { h.upstreams(w, r, path) })
		}
	case path == "/v1/audit":
		if r = h.admit(w, r, h.app.runtime.gate(), access.Admin); r != nil {
			h.readAudit(w, r)
		}
	case under(path, "/v1/keys"):
		if r = h.admit(w, r, h.app.runtime.gate(), access.Admin); r != nil {
			h.pace(w, r, func(r *http.Request) { h.manageKeys(w, r, path) })
		}
	case under(path, "/v1/files"), under(path, "/v1/uploads"), under(path, "/v1/batches"),
		under(path, "/v1/dashboard"), under(path, "/v1/analytics"), under(path, "/v1/usage"):
		if r = h.admit(w, r, h.app.runtime.gate(), anyScope); r != nil && !h.refusesByRole(w, r) {
			h.serveBody(w, r, 0, h.api)
		}
	default:
		return next.ServeHTTP(w, r)
	}
	return nil
}

// clientOf returns the client of a request that was admitted.
func clientOf(r *http.Request) access.Identity { return access.From(r.Context()) }

func under(path, root string) bool {
	rest, ok := strings.CutPrefix(path, root)
	return ok && (rest == "" || rest[0] == '/')
}

// health is the response of GET /health.
type health struct {
	Status    string                     `json:"status"` // ok, degraded or starting
	Upstreams []upstreams.UpstreamStatus `json:"upstreams"`
	Batch     *engine.Health             `json:"batch,omitempty"`
	// Problems are the models with problems.
	Problems []upstreams.ModelStatus `json:"problems,omitempty"`
	// Price is the price of batch by model.
	Price []upstreams.Price `json:"price,omitempty"`
	// Live counts the live requests of the last minutes, and their failures.
	Live upstreams.LiveErrors `json:"live"`
	// Queues are the models with waiting requests.
	Queues []upstreams.QueueStatus `json:"queues,omitempty"`
	// Shortage is a resource that the gateway has run out of.
	Shortage *upstreams.Shortage `json:"shortage,omitempty"`
	// Guardrail is why the guardrail made no decision about the last request.
	Guardrail string `json:"guardrail_failure,omitempty"`
	// Warnings are further findings of the doctor.
	Warnings []doctor.Check `json:"warnings,omitempty"`
}

// reads reports whether a request has a reading method, and answers it otherwise.
func reads(w http.ResponseWriter, r *http.Request) bool {
	if r.Method == http.MethodGet || r.Method == http.MethodHead {
		return true
	}
	w.Header().Set("Allow", "GET, HEAD")
	openai.WriteError(w, r, openai.MethodNotAllowed(r.Method, r.URL.Path))
	return false
}

// besides reports whether health does not already contain the subject of a check.
func besides(c doctor.Check) bool {
	return c.Topic == "" || c.Topic == doctor.SpaceTopic || c.Topic == doctor.MemoryTopic
}

func (h *APIHandler) health(w http.ResponseWriter, r *http.Request) {
	if h.guard.cors.handle(w, r) {
		return
	}
	c, refused := h.authenticate(r)
	if !c.known() {
		if err := h.guard.checkReader(r); err != nil {
			openai.WriteError(w, r, err)
			return
		}
	}
	if !reads(w, r) {
		return
	}
	rt := h.app.runtime
	out := health{Status: "starting", Upstreams: rt.pool.Status()}
	status := http.StatusServiceUnavailable
	if rt.pool.live.Load() {
		state := rt.batchHealth(r.Context())
		out.Batch = &state
		status = http.StatusOK
		out.Status = "ok"
		out.Shortage, out.Queues = rt.pool.Shortage(), rt.pool.Queues()
		out.Price = rt.pool.Prices()
		out.Guardrail = rt.pool.GuardrailFailure()
		out.Problems, out.Live = rt.pool.Problems(), rt.pool.LiveErrors()
		if !state.OK() || out.Shortage != nil || out.Guardrail != "" {
			out.Status = "degraded"
		}
		for _, c := range rt.doctor.Present(r.Context(), state) {
			if c.Verdict == doctor.Failed { // failing models are among them
				out.Status = "degraded"
			}
			if besides(c) {
				out.Warnings = append(out.Warnings, c)
			}
		}
		for _, u := range out.Upstreams {
			if u.State != upstreams.StateUp && u.State != upstreams.StateDraining && u.State != upstreams.StateAway {
				out.Status = "degraded"
			}
		}
	}
	if refused != nil || !c.May(access.Operate) {
		writeJSON(w, r, status, onlyStatus{out.Status})
		return
	}
	if out.Batch != nil {
		own := out.Batch.For(c.Identity)
		out.Batch = &own
	}
	out.show(c.Identity)
	writeJSON(w, r, status, out)
}

// show removes the models that a client does not see.
func (h *health) show(client access.Identity) {
	for i := range h.Upstreams {
		h.Upstreams[i] = h.Upstreams[i].For(client)
	}
	h.Problems = upstreams.VisibleProblems(client, h.Problems)
	h.Price = upstreams.VisiblePrices(client, h.Price)
	h.Queues = upstreams.VisibleQueues(client, h.Queues)
	h.Warnings = doctor.Visible(client, h.Warnings)
}

// onlyStatus is the response of GET /health without a key with the scope operate:
// sufficient for a load balancer, without information about servers, models and load.
type onlyStatus struct {
	Status string `json:"status"`
}

// doctor answers with the doctor's report.
func (h *APIHandler) doctor(w http.ResponseWriter, r *http.Request) {
	report, err := h.app.runtime.doctor.Checks(r.Context())
	if err != nil {
		return // the client has disconnected
	}
	report = report.For(clientOf(r))
	writeJSON(w, r, http.StatusOK, struct {
		Object string `json:"object"`
		doctor.Report
	}{"doctor.report", report})
}

// batchHealth returns the engine's health, or why it is not open yet.
func (r *runtime) batchHealth(ctx context.Context) engine.Health {
	if r.open.Load() {
		return r.engine.Health(ctx)
	}
	if closed := r.closed.Load(); closed != nil {
		return engine.Unopened(*closed)
	}
	return engine.Unopened(nil)
}

func (h *APIHandler) ready(w http.ResponseWriter, r *http.Request) {
	if !reads(w, r) {
		return
	}
	if h.refusesByRole(w, r) { // a load balancer must not send requests here
		return
	}
	rt := h.app.runtime
	if !rt.pool.live.Load() || !rt.pool.Ready() || h.app.keysUnknown() { // which would refuse every client
		openai.WriteError(w, r, openai.Unavailable(startingRetry, "No request could be served now."))
		return
	}
	writeJSON(w, r, http.StatusOK, map[string]string{"status": "ready"})
}

// ProxyHandler forwards live requests to the pool and answers all other requests with
// errors.
type ProxyHandler struct {
	door
	proxy http.Handler
}

// CaddyModule returns the Caddy module information.
func (*ProxyHandler) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "http.handlers.tidegate_proxy", New: func() caddy.Module { return new(ProxyHandler) }}
}

// Provision connects the handler to the app.
func (h *ProxyHandler) Provision(ctx caddy.Context) error {
	if err := h.provision(ctx); err != nil {
		return err
	}
	r := h.app.runtime
	proxy := upstreams.NewProxy(r.pool.Pool, r.log.Named("live"), r.record)
	proxy.Limit(r.pool.limits)
	h.proxy = proxy
	return nil
}

// record counts a live request and adds its known fields to the access log.
func (r *runtime) record(ctx context.Context, l upstreams.LiveRequest) {
	if fields, ok := ctx.Value(caddyhttp.ExtraLogFieldsCtxKey).(*caddyhttp.ExtraLogFields); ok {
		logLive(fields, &l)
	}
	client := access.From(ctx)
	u := batch.UsageRecord{
		Tenant: cmp.Or(client.Tenant, batch.DefaultTenant), Class: batch.ClassLive, Model: l.Model, Endpoint: l.Endpoint, Requests: 1, Usage: l.Usage,
		KeyID: client.KeyID,
	}
	if l.TTFT > 0 && !l.HasUsage { // a stream of unknown usage, which is not estimated
		u.Unpriced = 1
	}
	if l.Estimated {
		u.Estimated = 1
	}
	if l.Status >= http.StatusBadRequest || l.Status == 0 {
		u.Failures = 1
	}
	r.engine.RecordUsage(u)
}

// ServeHTTP implements caddyhttp.MiddlewareHandler. It does not call the next
// handler.
func (h *ProxyHandler) ServeHTTP(w http.ResponseWriter, r *http.Request, _ caddyhttp.Handler) error {
	begun(w, r)
	if h.rootRedirect(w, r) {
		return nil
	}
	if h.app.Metrics.Off && r.URL.EscapedPath() == "/metrics" { // /metrics is disabled, whatever key is sent
		openai.WriteError(w, r, openai.NotFound("", "This gateway does not serve /metrics: `metrics off` is configured."))
		return nil
	}
	scope := anyScope
	if upstreams.IsLive(r.URL.EscapedPath()) {
		scope = access.Live
	}
	if r = h.admit(w, r, h.app.pool.gate(), scope); r != nil && !h.refusesByRole(w, r) {
		h.serveBody(w, r, h.app.pool.LargestBody(), h.proxy)
	}
	return nil
}

var (
	_ caddyhttp.MiddlewareHandler = (*APIHandler)(nil)
	_ caddyhttp.MiddlewareHandler = (*ProxyHandler)(nil)
	_ caddy.Provisioner           = (*APIHandler)(nil)
	_ caddy.Provisioner           = (*ProxyHandler)(nil)
)
