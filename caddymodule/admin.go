package caddymodule

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"

	"github.com/caddyserver/caddy/v2"

	"github.com/tidegate/tidegate/upstreams"
)

func init() {
	caddy.RegisterModule(adminAPI{})
}

// adminAPI is /tidegate/ on Caddy's admin endpoint.
type adminAPI struct{}

// CaddyModule returns the Caddy module information.
func (adminAPI) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "admin.api.tidegate", New: func() caddy.Module { return new(adminAPI) }}
}

// Routes lists the upstreams, drains one and ends that.
func (adminAPI) Routes() []caddy.AdminRoute {
	return []caddy.AdminRoute{
		{Pattern: "/tidegate/upstreams", Handler: caddy.AdminHandlerFunc(listUpstreams)},
		{Pattern: "/tidegate/upstreams/drain", Handler: caddy.AdminHandlerFunc(change((*upstreams.Pool).Drain))},
		{Pattern: "/tidegate/upstreams/undrain", Handler: caddy.AdminHandlerFunc(change((*upstreams.Pool).Undrain))},
	}
}

// eachRuntime calls f with every runtime that serves.
func eachRuntime(f func(*runtime)) {
	runtimes.Range(func(_, value any) bool {
		if r, ok := value.(*runtime); ok && r.live.Load() {
			f(r)
		}
		return true
	})
}

func listUpstreams(w http.ResponseWriter, r *http.Request) error {
	if r.Method != http.MethodGet {
		return caddy.APIError{HTTPStatus: http.StatusMethodNotAllowed, Err: errors.New("use GET")}
	}
	all := []upstreams.UpstreamStatus{}
	eachRuntime(func(r *runtime) { all = append(all, r.pool.Status()...) })
	writeJSON(w, http.StatusOK, all)
	return nil
}

// change makes the handler of a change to one upstream, named by ?url= or
// {"url": …}.
func change(f func(*upstreams.Pool, string) error) func(http.ResponseWriter, *http.Request) error {
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
		var done []upstreams.UpstreamStatus
		err := upstreams.ErrNoUpstream
		eachRuntime(func(r *runtime) {
			if e := f(r.pool, request.URL); e == nil {
				err = nil
				done = append(done, r.pool.Status()...)
			}
		})
		if err != nil {
			return caddy.APIError{HTTPStatus: http.StatusNotFound, Err: fmt.Errorf("%w: %s", err, request.URL)}
		}
		writeJSON(w, http.StatusOK, done)
		return nil
	}
}

var _ caddy.AdminRouter = adminAPI{}
