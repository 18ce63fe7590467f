package caddymodule

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"

	"github.com/caddyserver/caddy/v2"

	"github.com/tidegate/tidegate/access"
	"github.com/tidegate/tidegate/batch"
	"github.com/tidegate/tidegate/upstreams"
)

func init() {
	caddy.RegisterModule(adminAPI{})
}

// adminAPI serves /tidegate/ on Caddy's admin endpoint.
type adminAPI struct{}

// CaddyModule returns the Caddy module information.
func (adminAPI) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "admin.api.tidegate", New: func() caddy.Module { return new(adminAPI) }}
}

// Routes returns the routes that list, drain and undrain upstreams.
func (adminAPI) Routes() []caddy.AdminRoute {
	return []caddy.AdminRoute{
		{Pattern: "/tidegate/upstreams", Handler: caddy.AdminHandlerFunc(listUpstreams)},
		{Pattern: "/tidegate/upstreams/drain", Handler: caddy.AdminHandlerFunc(change(batch.AuditServerDrain, func(p *upstreams.Pool, url string) error { return p.DrainBy(url, "Caddy's admin endpoint") }))},
		{Pattern: "/tidegate/upstreams/undrain", Handler: caddy.AdminHandlerFunc(change(batch.AuditServerUndrain, (*upstreams.Pool).Undrain))},
	}
}

// runningPool returns the pool, nil if no configuration is running.
func runningPool() (running *sharedPool) {
	pools.Range(func(_, value any) bool {
		if p, ok := value.(*sharedPool); ok && p.live.Load() {
			running = p
		}
		return running == nil
	})
	return running
}

// runningRuntime returns the runtime of the running configuration, nil if there is none.
func runningRuntime() (running *runtime) {
	runtimes.Range(func(_, value any) bool {
		if r, ok := value.(*runtime); ok && r.started.Load() && !r.retired.Load() {
			running = r
		}
		return running == nil
	})
	return running
}

func listUpstreams(w http.ResponseWriter, r *http.Request) error {
	if r.Method != http.MethodGet {
		return caddy.APIError{HTTPStatus: http.StatusMethodNotAllowed, Err: errors.New("use GET")}
	}
	all := []upstreams.UpstreamStatus{}
	if pool := runningPool(); pool != nil {
		all = pool.Status()
	}
	writeJSON(w, r, http.StatusOK, all)
	return nil
}

// change returns the handler of a change to one upstream, named by ?url= or {"url":
// …}.
func change(action batch.AuditAction, f func(*upstreams.Pool, string) error) func(http.ResponseWriter, *http.Request) error {
	return func(w http.ResponseWriter, r *http.Request) error {
		if r.Method != http.MethodPost {
			return caddy.APIError{HTTPStatus: http.StatusMethodNotAllowed, Err: errors.New("use POST")}
		}
		request := struct {
			URL string `json:"url"`
		}{r.URL.Query().Get("url")}
		if request.URL == "" {
			if err := json.NewDecoder(http.MaxBytesReader(w, r.Body, 1<<16)).Decode(&request); err != nil {
				return caddy.APIError{HTTPStatus: http.StatusBadRequest, Err: fmt.Errorf("reading body: %w", err)}
			}
		}
		pool := runningPool()
		if pool == nil {
			return caddy.APIError{HTTPStatus: http.StatusServiceUnavailable, Err: errors.New("no gateway is running")}
		}
		if err := f(pool.Pool, request.URL); err != nil {
			return caddy.APIError{HTTPStatus: http.StatusNotFound, Err: fmt.Errorf("%w: %s", err, request.URL)}
		}
		r = withOrigin(w, r, access.ViaAdmin)
		if running := runningRuntime(); running != nil {
			running.auditAction(r.Context(), action, request.URL)
		}
		writeJSON(w, r, http.StatusOK, pool.Status())
		return nil
	}
}

var _ caddy.AdminRouter = adminAPI{}
