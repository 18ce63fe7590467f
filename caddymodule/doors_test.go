package caddymodule

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/tidegate/tidegate/access"
	"github.com/tidegate/tidegate/batch"
	"github.com/tidegate/tidegate/batch/store/sqlite"
	"github.com/tidegate/tidegate/upstreams"
)

// listening records the header of every request that reaches a server.
type listening struct {
	http.Handler
	mu   sync.Mutex
	seen []http.Header // guarded by mu
}

func (l *listening) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	l.mu.Lock()
	l.seen = append(l.seen, r.Header.Clone())
	l.mu.Unlock()
	l.Handler.ServeHTTP(w, r)
}

// TestKeys checks that without a key only /health and /ready are accessible, and that the
// gateway's key is never sent to servers.
func TestKeys(t *testing.T) {
	sim, _ := newSim(t)
	server := &listening{Handler: sim}
	front := httptest.NewServer(server)
	t.Cleanup(front.Close)
	g := newGateway(t, front.URL)
	g.app.APIKeys = []string{"gateway-secret"}
	g.run(t)
	for _, path := range []string{"/v1/chat/completions", "/v1/files", "/v1/uploads", "/v1/batches", "/v1/batches/batch_x/cancel", "/v1/models", "/metrics/x", "/"} {
		for _, header := range [][]string{nil, {"Authorization", "Bearer wrong"}, {"X-Api-Key", "wrong"}} {
			a := g.ask(t, "POST", path, chat, header...)
			a.wantError(t, 401, "invalid_request_error")
			if a.header.Get("WWW-Authenticate") == "" || strings.Contains(a.body, "secret") {
				t.Errorf("%s: %v %s", path, a.header, a.body)
			}
		}
	}
	if n := sim.Stats().Calls; n != 0 {
		t.Errorf("%d requests got through", n)
	}
	for _, header := range [][]string{nil, {"Authorization", "Bearer wrong"}, {"X-Api-Key", ""}} {
		if a := g.ask(t, "GET", "/health", "", header...); a.status != 200 || strings.TrimSpace(a.body) != `{"status":"ok"}` {
			t.Errorf("/health with %v: got %d %s, want the status alone", header, a.status, a.body)
		}
	}
	for _, header := range [][]string{{"Authorization", "Bearer gateway-secret"}, {"X-Api-Key", "gateway-secret"}} {
		if a := g.ask(t, "GET", "/health", "", header...); a.status != 200 || !strings.Contains(a.body, front.URL) || !strings.Contains(a.body, `"batch"`) {
			t.Errorf("/health with a key: got %d %s, want everything", a.status, a.body)
		}
	}
	for _, path := range []string{"/health", "/ready"} {
		if a := g.ask(t, "GET", path, ""); a.status != 200 {
			t.Errorf("%s: %d %s", path, a.status, a.body)
		}
	}
	for _, header := range [][]string{
		{"Authorization", "Bearer gateway-secret"},
		{"X-Api-Key", "gateway-secret"},
		{"Api-Key", "gateway-secret"},
		{"Authorization", basic("any", "gateway-secret")},
		{"Authorization", "Bearer none", "X-Api-Key", "gateway-secret"},
		{"Authorization", "Bearer none", "Api-Key", "gateway-secret"},
		{"Authorization", "Bearer gateway-secret", "X-Api-Key", "none"},
		{"Authorization", basic("any", "none"), "Api-Key", "gateway-secret"},
	} {
		if a := g.ask(t, "POST", "/v1/chat/completions", chat, header...); a.status != 200 {
			t.Errorf("%d %s", a.status, a.body)
		}
		if a := g.ask(t, "GET", "/v1/batches", "", header...); a.status != 200 {
			t.Errorf("%d %s", a.status, a.body)
		}
	}
	server.mu.Lock()
	defer server.mu.Unlock()
	for _, header := range server.seen {
		for name, values := range header {
			if name == "Authorization" || name == "Api-Key" || name == "X-Api-Key" || strings.Contains(strings.Join(values, ""), "secret") {
				t.Errorf("a server saw the key in %s", name)
			}
		}
	}
}

// A browser repeats a password by itself, also in what a page of another origin
// makes it send. Such a request changes nothing unless the origin is listed.
func TestPasswordAcrossOrigins(t *testing.T) {
	_, url := newSim(t)
	page := []string{"Origin", "https://app.example.com", "Sec-Fetch-Site", "cross-site"}
	for name, tt := range map[string]struct {
		list   cors
		header []string
		want   int
	}{
		"no cors":           {nil, append(page, "Authorization", basic("any", "k")), 403},
		"cors *":            {cors{"*"}, append(page, "Authorization", basic("any", "k")), 403},
		"listed origin":     {cors{"https://app.example.com"}, append(page, "Authorization", basic("any", "k")), 404},
		"key in a header":   {nil, append(page, "Authorization", basic("any", "k"), "X-Api-Key", "k"), 404},
		"bearer token":      {nil, append(page, "Authorization", "Bearer k"), 404},
		"placeholder, pass": {nil, append(page, "Authorization", basic("any", "k"), "X-Api-Key", "none"), 403},
		"no page":           {nil, []string{"Authorization", basic("any", "k")}, 404},
		"page of the site":  {nil, []string{"Sec-Fetch-Site", "same-origin", "Authorization", basic("any", "k")}, 404},
		"page, wrong pass":  {nil, append(page, "Authorization", basic("any", "x")), 401},
		"page, no password": {nil, page, 401},
	} {
		t.Run(name, func(t *testing.T) {
			g := newGateway(t, url)
			g.app.CORS, g.app.APIKeys = tt.list, []string{"k"}
			g.run(t)
			for _, path := range []string{"/v1/batches/none/cancel", "/v1/none"} {
				if a := g.ask(t, "POST", path, "", tt.header...); a.status != tt.want {
					t.Errorf("POST %s: got %d %s, want %d", path, a.status, a.body, tt.want)
				}
			}
		})
	}
}

// TestPasswordMessage checks that the error for a page with a password explains why `cors *`
// is not sufficient.
func TestPasswordMessage(t *testing.T) {
	r := httptest.NewRequest("POST", "/v1/batches", nil)
	r.Header.Set("Origin", "https://app.example.com")
	for _, list := range []cors{nil, {"*"}} {
		err := (&guard{keyed: func() bool { return true }, cors: list}).checkPassword(r)
		if err == nil || strings.Contains(err.Message, "`cors *` is not enough") != (list != nil) || !strings.Contains(err.Message, "https://app.example.com") {
			t.Errorf("cors %v: got %v", list, err)
		}
	}
}

// withoutCaddysMetrics loads the configuration without the route of Caddy's own
// handler of metrics.
func (g *gateway) withoutCaddysMetrics(t *testing.T) {
	t.Helper()
	before, after, ok := strings.Cut(string(g.config(t, nil)), `{"match":[{"path":["/metrics"]}],"handle":[{"handler":"metrics"}]},`)
	if !ok {
		t.Fatal("there is no such route")
	}
	if err := caddy.Load([]byte(before+after), true); err != nil {
		t.Fatal(err)
	}
}

// What only reads refuses other methods, and names those that it takes.
func TestReadOnlyRoutes(t *testing.T) {
	_, url := newSim(t)
	g := newGateway(t, url)
	g.run(t)
	g.withoutCaddysMetrics(t)
	for _, path := range []string{"/health", "/ready", "/doctor", "/upstreams", "/metrics"} {
		for _, method := range []string{"POST", "PUT", "PATCH", "DELETE"} {
			a := g.ask(t, method, path, "")
			if a.wantError(t, 405, "invalid_request_error"); a.header.Get("Allow") != "GET, HEAD" {
				t.Errorf("%s %s: Allow is %q, want GET, HEAD", method, path, a.header.Get("Allow"))
			}
		}
		for _, method := range []string{"GET", "HEAD"} {
			if a := g.ask(t, method, path, ""); a.status != 200 {
				t.Errorf("%s %s: got %d %s, want 200", method, path, a.status, a.body)
			}
		}
	}
}

// TestMetricsOff checks that with `metrics off` the route does not exist, with or without a
// key.
func TestMetricsOff(t *testing.T) {
	_, url := newSim(t)
	g := newGateway(t, url)
	g.app.APIKeys, g.app.Metrics.Off = []string{"k"}, true
	g.run(t)
	g.withoutCaddysMetrics(t)
	for _, header := range [][]string{nil, {"Authorization", "Bearer k"}, {"Authorization", "Bearer x"}} {
		g.ask(t, "GET", "/metrics", "", header...).wantError(t, 404, "invalid_request_error")
	}
	g.ask(t, "GET", "/metrics/x", "").wantError(t, 401, "invalid_request_error")
}

// The log says whom a gateway without keys serves, and nothing where there are keys.
func TestAccessIsTold(t *testing.T) {
	var keys access.Ring
	if err := keys.Add(access.Key{ID: "k"}); err != nil {
		t.Fatal(err)
	}
	for name, tt := range map[string]struct {
		app  App
		want string
	}{
		"keys":           {App{hasHandler: true, keys: keys}, ""},
		"none":           {App{hasHandler: true}, "clients on this machine are served, others are refused"},
		"auth off":       {App{hasHandler: true, AuthOff: true}, "every client that reaches the gateway may use it, unless a proxy in front authenticates"},
		"no site":        {App{}, ""},
		"no site, work":  {App{Role: batch.RoleWork}, ""},
		"no site, all":   {App{Role: batch.RoleAll}, "no client can reach it"},
		"no site, a key": {App{Role: batch.RoleServe, keys: keys}, "no client can reach it"},
	} {
		core, entries := observer.New(zap.DebugLevel)
		tt.app.log = zap.New(core)
		tt.app.tellAccess()
		got := ""
		for _, e := range entries.All() {
			got += e.Message
		}
		if tt.want == "" && got != "" || !strings.Contains(got, tt.want) {
			t.Errorf("%s: got %q, want %q", name, got, tt.want)
		}
	}
}

// Reads without a key are offered Basic authentication, which browsers ask their
// users for. Requests that sent another key are not.
func TestChallenges(t *testing.T) {
	_, url := newSim(t)
	g := newGateway(t, url)
	g.app.APIKeys = []string{"k"}
	g.run(t)
	both := []string{"Bearer", basicChallenge}
	for _, tt := range []struct {
		method string
		header []string
		want   []string
	}{
		{"GET", nil, both},
		{"GET", []string{"Authorization", basic("any", "x")}, both},
		{"GET", []string{"Authorization", "Bearer x"}, both[:1]},
		{"GET", []string{"X-Api-Key", "x"}, both[:1]},
		{"GET", []string{"Api-Key", "x"}, both[:1]},
		{"POST", nil, both[:1]},
	} {
		a := g.ask(t, tt.method, "/v1/batches", "", tt.header...)
		if got := a.header.Values("WWW-Authenticate"); a.status != 401 || !slices.Equal(got, tt.want) {
			t.Errorf("%s with %v: got %d %q, want 401 %q", tt.method, tt.header, a.status, got, tt.want)
		}
	}
}

// Keys and directories may stand elsewhere than in the configuration.
func TestPlaceholders(t *testing.T) {
	server := &listening{Handler: http.HandlerFunc(func(http.ResponseWriter, *http.Request) {})}
	front := httptest.NewServer(server)
	t.Cleanup(front.Close)
	t.Setenv("GATEWAY_KEY", "from-outside")
	t.Setenv("SERVER_KEY", "for-the-server")
	t.Setenv("DATA_DIR", t.TempDir())
	g := newGateway(t, front.URL)
	g.app.APIKeys, g.app.Pool.APIKey, g.app.Data = []string{"{env.GATEWAY_KEY}"}, "{env.SERVER_KEY}", "{env.DATA_DIR}/here"
	g.load(t)
	t.Cleanup(func() {
		if err := caddy.Stop(); err != nil {
			t.Error(err)
		}
	})
	if a := g.ask(t, "GET", "/v1/batches", "", "Authorization", "Bearer from-outside"); a.status != 200 {
		t.Errorf("%d %s", a.status, a.body)
	}
	g.ask(t, "GET", "/v1/batches", "", "Authorization", "Bearer {env.GATEWAY_KEY}").wantError(t, 401, "invalid_request_error")
	until(t, "the server is probed", func() bool {
		server.mu.Lock()
		defer server.mu.Unlock()
		return len(server.seen) > 0
	})
	server.mu.Lock()
	defer server.mu.Unlock()
	if got := server.seen[0].Get("Authorization"); got != "Bearer for-the-server" {
		t.Errorf("the server was shown %q", got)
	}
}

// state is the answer of /health.
type state struct {
	Status    string
	Upstreams []struct{ URL, State string }
	Batch     *struct {
		Store, Queue, Files string
	}
	Problems []upstreams.ModelStatus
	Live     upstreams.LiveErrors
}

func (g *gateway) health(t *testing.T, header ...string) (int, state) {
	t.Helper()
	a := g.ask(t, "GET", "/health", "", header...)
	var s state
	if err := json.Unmarshal([]byte(a.body), &s); err != nil {
		t.Fatalf("%v: %s", err, a.body)
	}
	return a.status, s
}

func TestHealth(t *testing.T) {
	_, one := newSim(t)
	other := httptest.NewServer(http.NotFoundHandler())
	gone := other.URL
	other.Close()
	g := newGateway(t, one)
	g.run(t)
	if status, s := g.health(t); status != 200 || s.Status != "ok" || s.Batch == nil || s.Batch.Store != "ok" || len(s.Upstreams) != 1 || s.Upstreams[0].State != "up" {
		t.Errorf("%d %+v", status, s)
	}
	if a := g.ask(t, "GET", "/ready", ""); a.status != 200 {
		t.Errorf("not ready: %s", a.body)
	}

	g.app.Pool.Upstreams = []UpstreamConfig{{URL: one}, {URL: gone}}
	g.load(t)
	if status, s := g.health(t); status != 200 || s.Status != "degraded" || len(s.Upstreams) != 2 {
		t.Errorf("with a server that is gone: %d %+v", status, s)
	}
	if a := g.ask(t, "GET", "/ready", ""); a.status != 200 {
		t.Errorf("not ready with one of two: %s", a.body)
	}

	g.app.Pool.Upstreams = []UpstreamConfig{{URL: gone}}
	g.load(t)
	until(t, "nothing is ready", func() bool { return g.ask(t, "GET", "/ready", "").status == 503 })
	if a := g.ask(t, "GET", "/ready", ""); a.header.Get("Retry-After") == "" {
		t.Error("no Retry-After")
	}
	if status, s := g.health(t); status != 200 || s.Status != "degraded" {
		t.Errorf("without a server: %d %+v", status, s)
	}
}

// Until the runtime is open both doors answer 503: Caddy starts apps in no
// order.
func TestStarting(t *testing.T) {
	synctest.Test(t, func(t *testing.T) { // each request waits for startHold
		app := &App{Data: t.TempDir(), store: new(SQLiteStore), queue: new(MemoryQueue), files: new(LocalFiles)}
		app.pool = &sharedPool{Pool: upstreams.NewPool(zap.NewNop())}
		var err error
		if app.runtime, err = newRuntime(app); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := app.runtime.Destruct(); err != nil {
				t.Error(err)
			}
		})
		api, proxy := &APIHandler{door: door{app: app}}, &ProxyHandler{door: door{app: app}}
		ask := func(h caddyhttp.MiddlewareHandler, path string) answer {
			w := httptest.NewRecorder()
			r := httptest.NewRequest("GET", "http://localhost"+path, nil)
			r.RemoteAddr = "127.0.0.1:1"
			if err := h.ServeHTTP(w, r, nil); err != nil {
				t.Fatal(err)
			}
			return answer{w.Code, w.Header(), w.Body.String()}
		}
		for _, a := range []answer{ask(api, "/v1/batches"), ask(api, "/v1/files/file-x"), ask(proxy, "/v1/models"), ask(api, "/ready")} {
			a.wantError(t, 503, "server_error")
			if a.header.Get("Retry-After") == "" {
				t.Errorf("no Retry-After: %s", a.body)
			}
		}
		if a := ask(api, "/health"); a.status != 503 || !strings.Contains(a.body, `"starting"`) {
			t.Errorf("/health: %d %s", a.status, a.body)
		}
	})
}

// Live requests are counted beside those of batches.
func TestLiveUsage(t *testing.T) {
	_, url := newSim(t)
	g := newGateway(t, url)
	g.app.StoreRaw = []byte(`{"driver": "sqlite", "path": "` + t.TempDir() + `/db"}`)
	t.Run("requests", func(t *testing.T) {
		g.run(t) // and stop
		for range 3 {
			if a := g.ask(t, "POST", "/v1/chat/completions", chat); a.status != 200 {
				t.Fatalf("%d %s", a.status, a.body)
			}
		}
		g.ask(t, "POST", "/v1/chat/completions", `{"model":"m","messages":3}`).wantError(t, 400, "Bad Request")
		g.ask(t, "POST", "/v1/chat/completions", `{"model":"unheard-of","messages":[]}`).wantError(t, 404, "invalid_request_error")
	})
	var config struct{ Path string }
	if err := json.Unmarshal(g.app.StoreRaw, &config); err != nil {
		t.Fatal(err)
	}
	store := sqlite.New(sqlite.Config{Path: config.Path})
	if err := store.Open(t.Context()); err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	records, err := store.Usage(t.Context(), batch.DefaultTenant, time.Time{})
	if err != nil {
		t.Fatal(err)
	}
	counted := map[string]batch.UsageRecord{}
	for _, r := range records {
		counted[r.Model] = r
	}
	m := counted[model]
	if m.Requests != 4 || m.Failures != 1 || m.Usage.InputTokens == 0 || m.Usage.OutputTokens == 0 || m.Class != "live" || m.Endpoint != "/v1/chat/completions" {
		t.Errorf("counted %+v", records)
	}
	if r, ok := counted["unheard-of"]; ok {
		t.Errorf("a client's own word became a model: %+v", r)
	}
}
