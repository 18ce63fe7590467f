package caddymodule

import (
	"encoding/json"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"
	_ "github.com/caddyserver/caddy/v2/modules/metrics"

	"github.com/tidegate/tidegate/internal/vllmsim"
	"github.com/tidegate/tidegate/upstreams"
)

// Caddy runs one configuration per process, so that none of these tests is
// parallel.

const model = "m"

// newSim starts a simulated model server.
func newSim(t *testing.T) (*vllmsim.Server, string) {
	t.Helper()
	sim := vllmsim.New(vllmsim.Config{Models: []string{model}})
	srv := httptest.NewServer(sim)
	t.Cleanup(func() {
		sim.Close()
		srv.CloseClientConnections()
		srv.Close()
	})
	return sim, srv.URL
}

// gateway is Caddy in this process with the gateway on a loopback port.
type gateway struct {
	*http.Client
	addr string
	app  App // the configuration: change it and call load
}

// newGateway prepares a gateway in front of servers.
func newGateway(t *testing.T, urls ...string) *gateway {
	t.Helper()
	free, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	g := &gateway{addr: free.Addr().String()}
	if err := free.Close(); err != nil {
		t.Fatal(err)
	}
	g.app.Data = filepath.Join(t.TempDir(), "data")
	g.app.Pool.HealthInterval = caddy.Duration(20 * time.Millisecond)
	for _, url := range urls {
		g.app.Pool.Upstreams = append(g.app.Pool.Upstreams, UpstreamConfig{URL: url})
	}
	transport := new(http.Transport)
	g.Client = &http.Client{Transport: transport}
	t.Cleanup(transport.CloseIdleConnections)
	return g
}

// config returns the configuration of Caddy; more are further apps.
func (g *gateway) config(t *testing.T, more map[string]string) []byte {
	t.Helper()
	web := `{"grace_period": "5s", "servers": {"gateway": {"listen": ["` + g.addr + `"], "automatic_https": {"disable": true}, "routes": [
		{"match": [{"path": ["/metrics"]}], "handle": [{"handler": "metrics"}]},
		{"handle": [{"handler": "tidegate_api"}, {"handler": "tidegate_proxy"}]}
	]}}}`
	apps := caddy.ModuleMap{"tidegate": caddyconfig.JSON(g.app, nil), "http": json.RawMessage(web)}
	for name, app := range more {
		apps[name] = json.RawMessage(app)
	}
	text, err := json.Marshal(map[string]any{
		"admin":   map[string]any{"disabled": true, "config": map[string]any{"persist": false}},
		"logging": map[string]any{"logs": map[string]any{"default": map[string]any{"writer": map[string]any{"output": "discard"}}}},
		"apps":    apps,
	})
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// load runs the configuration, or changes to it.
func (g *gateway) load(t *testing.T) {
	t.Helper()
	if err := caddy.Load(g.config(t, nil), true); err != nil {
		t.Fatal(err)
	}
}

// run is load until the test ends, with all servers up.
func (g *gateway) run(t *testing.T) {
	t.Helper()
	g.load(t)
	t.Cleanup(func() {
		if err := caddy.Stop(); err != nil {
			t.Error(err)
		}
		if n := len(open()); n != 0 {
			t.Errorf("%d runtimes are left", n)
		}
	})
	until(t, "all servers are up", func() bool {
		for _, u := range g.runtime(t).pool.Status() {
			if u.State != upstreams.StateUp {
				return false
			}
		}
		return true
	})
}

// open are the runtimes that are open.
func open() []*runtime {
	var all []*runtime
	runtimes.Range(func(_, value any) bool {
		if r := value.(*runtime); r.started.Load() {
			all = append(all, r)
		}
		return true
	})
	return all
}

func (g *gateway) runtime(t *testing.T) *runtime {
	t.Helper()
	all := open()
	if len(all) != 1 {
		t.Fatalf("%d runtimes are open", len(all))
	}
	return all[0]
}

// answer is a response.
type answer struct {
	status int
	header http.Header
	body   string
}

// ask sends a request and retries if the connection breaks before a response, like OpenAI's
// clients: at a reload Caddy closes idle connections, and those that it has not accepted.
func (g *gateway) ask(t *testing.T, method, path, body string, header ...string) answer {
	t.Helper()
	for again := 0; ; again++ {
		r, err := http.NewRequestWithContext(t.Context(), method, "http://"+g.addr+path, strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Content-Type", "application/json")
		for i := 0; i < len(header); i += 2 {
			r.Header.Set(header[i], header[i+1])
		}
		got, err := g.Do(r)
		if err != nil && again < 3 {
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		defer got.Body.Close()
		text, err := io.ReadAll(got.Body)
		if err != nil {
			t.Fatal(err)
		}
		return answer{got.StatusCode, got.Header, string(text)}
	}
}

// wantError checks for an envelope.
func (a answer) wantError(t *testing.T, status int, kind string) {
	t.Helper()
	var e struct {
		Error struct{ Message, Type string }
	}
	if err := json.Unmarshal([]byte(a.body), &e); err != nil || a.status != status || e.Error.Type != kind || e.Error.Message == "" {
		t.Errorf("got %d %s; want %d and an envelope of type %s", a.status, a.body, status, kind)
	}
}

const chat = `{"model":"m","messages":[{"role":"user","content":"hi"}]}`

// until polls until ok returns true.
func until(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for start := time.Now(); !ok(); {
		elapsed := time.Since(start)
		if elapsed > 20*time.Second {
			t.Fatalf("never happened: %s", what)
		}
		time.Sleep(min(max(elapsed/20, time.Millisecond), 20*time.Millisecond))
	}
}
