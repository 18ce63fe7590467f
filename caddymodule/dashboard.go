package caddymodule

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math"
	"net/http"
	"os"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/tidegate/tidegate/access"
	"github.com/tidegate/tidegate/batch"
	"github.com/tidegate/tidegate/dashboard"
	"github.com/tidegate/tidegate/dashboard/source"
	"github.com/tidegate/tidegate/internal/openai"
)

func init() {
	caddy.RegisterModule(new(DashboardHandler))
}

// defaultDashboard is the default path of the dashboard.
const defaultDashboard = "/dashboard"

var errDashboardRoot = errors.New("path: the dashboard cannot be at the root, because it would hide the API")

// DashboardHandler serves the dashboard below its path. Other requests go to the next
// handler. If the app has api_keys, a browser asks for one: as the password of HTTP
// Basic authentication, with any user name.
type DashboardHandler struct {
	// Path is the path of the dashboard. Default: /dashboard.
	Path string `json:"path,omitempty"`
	// Name is shown in the header and in the title of every page, at most 100
	// characters. Default: the name of the host.
	Name string `json:"name,omitempty"`
	// TrustedOrigins may send actions in addition to the dashboard's own origin, such
	// as https://ops.example.com.
	TrustedOrigins []string `json:"trusted_origins,omitempty"`

	door
	pages tenantPages
	path  string
}

// CaddyModule returns the Caddy module information.
func (*DashboardHandler) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "http.handlers.tidegate_dashboard", New: func() caddy.Module { return new(DashboardHandler) }}
}

// Provision creates the dashboard.
func (h *DashboardHandler) Provision(ctx caddy.Context) error {
	if err := h.provision(ctx); err != nil {
		return err
	}
	r := h.app.runtime
	h.path = strings.TrimSuffix(cmp.Or(h.Path, defaultDashboard), "/")
	if h.path == "" {
		return errDashboardRoot
	}
	if err := checkName(h.Name); err != nil {
		return err
	}
	files := r.fileService(h.app.Batch.limits(), h.app.storageLimits())
	h.pages.open = func(tenant string) (*dashboard.Dashboard, error) {
		return dashboard.New(dashboard.Config{
			Base: h.path, Name: cmp.Or(h.Name, hostName()), Version: Version(), Tenant: tenant, TrustedOrigins: h.TrustedOrigins, Identity: clientOf, Valid: h.valid, Refused: h.refusedPage,
			Creates: func() bool { return h.app.role().Serves() }, Log: r.log.Named("dashboard"),
			Source: source.New(source.Config{
				Tenant: tenant, Engine: r.engine, Files: files, Pool: r.pool.Pool,
				Doctor: r.doctor, Health: r.batchHealth, Started: r.began, Audited: r.audited, Keys: keyService{h.app}, Limits: limitService{h.app}, Webhooks: webhookService{h.app},
			}),
		})
	}
	_, done, err := h.pages.of(access.DefaultTenant, false)
	if err != nil { // errors of the configuration
		return fmt.Errorf("dashboard: %w", err)
	}
	done()
	// Close open pages, which would delay the server's shutdown. They reconnect to the
	// next server.
	if server, ok := ctx.Value(caddyhttp.ServerCtxKey).(*caddyhttp.Server); ok {
		server.RegisterOnShutdown(h.pages.close)
	}
	return nil
}

// maxName limits the name of an installation, in characters.
const maxName = 100

var errName = fmt.Errorf("name: it must have 1 to %d characters in one line", maxName)

func checkName(name string) error {
	if utf8.RuneCountInString(name) > maxName || strings.ContainsFunc(name, unicode.IsControl) {
		return errName
	}
	return nil
}

// hostName returns the name of the host, "" if it is not known.
func hostName() string {
	name, err := os.Hostname()
	if err != nil {
		return ""
	}
	return name
}

// Cleanup closes the remaining open pages.
func (h *DashboardHandler) Cleanup() error {
	h.pages.close()
	return nil
}

// ServeHTTP implements caddyhttp.MiddlewareHandler.
func (h *DashboardHandler) ServeHTTP(w http.ResponseWriter, r *http.Request, next caddyhttp.Handler) error {
	begun(w, r)
	if !under(r.URL.EscapedPath(), h.path) {
		h.announce(r)
		return next.ServeHTTP(w, r)
	}
	r = withOrigin(w, r, access.ViaDashboard)
	client, refused := h.identify(r, h.guard.checkReader) // the pages check the origin of actions
	if refused != nil {
		if len(credentials(r)) > 0 || refused.Status != http.StatusUnauthorized { // a browser without a key asks for one
			h.app.runtime.refused(r.Context(), batch.AuditLogin, h.path, refused)
		}
		h.refuse(w, refused)
		return nil
	}
	logClient(r, client.Identity)
	pages, done, err := h.pages.of(dashboard.SelectedTenant(r, client.Identity), under(r.URL.EscapedPath(), h.path+"/events"))
	if errors.Is(err, errPagesBusy) {
		h.refuse(w, openai.Unavailable(startingRetry, "Too many pages are open. Close some, or try again later."))
		return nil
	}
	if err != nil {
		return err
	}
	defer done()
	ctx := context.WithValue(access.With(r.Context(), client.Identity), clientKey{}, client)
	if client.known() {
		if e, ok := batch.Audited(ctx, batch.AuditLogin, h.path, client.Tenant, ""); ok {
			h.app.runtime.audit.Login(ctx, e)
		}
	}
	h.pace(w, r.WithContext(ctx), func(r *http.Request) { pages.ServeHTTP(w, r) })
	return nil
}

// clientKey is the key of a client in the context of its request.
type clientKey struct{}

// valid reports whether the client of a request, which may have lasted long, is still
// valid.
func (h *DashboardHandler) valid(r *http.Request) bool {
	c, ok := r.Context().Value(clientKey{}).(client)
	return ok && h.app.stillValid(c)
}

// refusedPage audits that a client lacks the scope of a page or an action.
func (h *DashboardHandler) refusedPage(r *http.Request, s access.Scope) {
	if privileged(s) {
		h.app.runtime.refused(r.Context(), batch.AuditAdminRequest, h.path, openai.MissingScope(string(s)))
	}
}

// refuse answers a request that is not admitted.
func (h *DashboardHandler) refuse(w http.ResponseWriter, err *openai.Error) {
	text := err.Message
	if err.Status == http.StatusUnauthorized {
		w.Header().Set("WWW-Authenticate", basicChallenge)
		text = "An API key is needed: as password, with any name."
	}
	if err.RetryAfter > 0 {
		w.Header().Set("Retry-After", strconv.Itoa(int(math.Ceil(err.RetryAfter.Seconds()))))
	}
	http.Error(w, text, err.Status)
}

var (
	_ caddyhttp.MiddlewareHandler = (*DashboardHandler)(nil)
	_ caddy.Provisioner           = (*DashboardHandler)(nil)
	_ caddy.CleanerUpper          = (*DashboardHandler)(nil)
)
