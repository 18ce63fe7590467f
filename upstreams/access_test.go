package upstreams

import (
	"crypto/tls"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/zap"

	"github.com/tidegate/tidegate/internal/certtest"
)

func TestParseAddress(t *testing.T) {
	for raw, want := range map[string]string{ // the normal form; "" is refused
		"http://a:8000":                     "http://a:8000",
		"HTTP://A/":                         "http://a",
		"http://a/v1":                       "http://a",
		"http://a/v1/":                      "http://a",
		"https://a/openai/v1":               "https://a/openai",
		"https://a/team-1/vllm/":            "https://a/team-1/vllm",
		"http://[::1]:8000/v1":              "http://[::1]:8000",
		"unix//run/vllm.sock":               "unix//run/vllm.sock",
		"unix//run/../run//vllm.sock":       "unix//run/vllm.sock",
		"unix:///run/vllm.sock":             "unix//run/vllm.sock",
		"unix:/run/vllm.sock":               "unix//run/vllm.sock",
		"unix/@vllm":                        "unix/@vllm",
		"http://a/v1/chat/completions":      "",
		"http://a/x/v1/models":              "",
		"http://a/a b":                      "",
		"http://a//x":                       "",
		"http://a/../x":                     "",
		"http://a:0":                        "",
		"http://a:70000":                    "",
		"http://":                           "",
		"a:8000":                            "",
		"unix/run/vllm.sock":                "",
		"unix/":                             "",
		"unix//":                            "",
		"unix//" + strings.Repeat("x", 200): "",
		"unix//run/vllm.sock|0222":          "",
	} {
		at, err := parseAddress(raw)
		if (err == nil) != (want != "") || at.name != want {
			t.Errorf("%q: got %q, %v, want %q", raw, at.name, err, want)
		}
		if again, err := parseAddress(at.name); want != "" && (err != nil || again.name != want) {
			t.Errorf("%q is not its own normal form: %q, %v", want, again.name, err)
		}
	}
}

// newSecureFake starts a model server that speaks TLS.
func newSecureFake(t *testing.T, cfg *tls.Config) *fake {
	t.Helper()
	f := makeFake()
	f.Server = httptest.NewUnstartedServer(f)
	f.Config.ErrorLog = zap.NewStdLog(zap.NewNop()) // handshakes fail on purpose
	f.TLS = cfg
	f.StartTLS()
	t.Cleanup(f.Close)
	return f
}

// trying is a pool of one upstream that need not come up.
func trying(t *testing.T, u UpstreamConfig) *Pool {
	t.Helper()
	p := NewPool(zap.NewNop())
	cfg := quick()
	cfg.Upstreams = []UpstreamConfig{u}
	if err := p.Apply(cfg); err != nil {
		t.Fatal(err)
	}
	p.Start()
	t.Cleanup(p.Close)
	return p
}

// serves asserts that a live request and a batch line are answered.
func serves(t *testing.T, p *Pool) {
	t.Helper()
	defer func() {
		if t.Failed() {
			t.Logf("%+v", p.Status())
		}
	}()
	until(t, "the upstream is up", func() bool { return count(p, StateUp) == 1 })
	g := httptest.NewServer(NewProxy(p, zap.NewNop(), nil))
	defer g.Close()
	answer, err := http.Post(g.URL+"/v1/chat/completions", "application/json", strings.NewReader(chatBody(model)))
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	if text, err := io.ReadAll(answer.Body); err != nil || answer.StatusCode != http.StatusOK || string(text) != jsonAnswer {
		t.Errorf("live: %d %s, %v", answer.StatusCode, text, err)
	}
	http.DefaultClient.CloseIdleConnections()
	slot, err := p.Reserve(model, "")
	if err != nil {
		t.Fatal(err)
	}
	defer slot.Release()
	if a, err := slot.Send(t.Context(), "/v1/chat/completions", []byte(chatBody(model))); err != nil || a.Status != http.StatusOK {
		t.Errorf("batch: %+v, %v", a, err)
	}
}

// A server with a certificate of a private authority is used with the options
// that it needs, and without them the reason and the remedy are named.
func TestTLS(t *testing.T) {
	authority, other := certtest.New(t), certtest.New(t)
	soon := time.Now().Add(time.Hour)
	pair, _, _ := authority.Issue(t, "127.0.0.1", soon)
	named, _, _ := authority.Issue(t, "gpu.internal", soon)
	expired, _, _ := authority.Issue(t, "127.0.0.1", time.Now().Add(-time.Hour))
	_, clientCert, clientKey := authority.Issue(t, "gateway", soon)
	_, strangeCert, strangeKey := other.Issue(t, "gateway", soon)
	plain := newFake(t)
	serving := func(pair tls.Certificate) *tls.Config { return &tls.Config{Certificates: []tls.Certificate{pair}} }
	mutual := &tls.Config{Certificates: []tls.Certificate{pair}, ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: authority.Pool()}
	ca := []string{authority.File}
	for name, tt := range map[string]struct {
		server *tls.Config
		client TLSConfig
		remedy string // "" for a server that comes up
	}{
		"own authority":              {serving(pair), TLSConfig{CAFiles: ca}, ""},
		"one of two authorities":     {serving(pair), TLSConfig{CAFiles: []string{other.File, authority.File}}, ""},
		"any certificate":            {serving(pair), TLSConfig{InsecureSkipVerify: true}, ""},
		"server name":                {serving(named), TLSConfig{CAFiles: ca, ServerName: "gpu.internal"}, ""},
		"client certificate":         {mutual, TLSConfig{CAFiles: ca, CertFile: clientCert, KeyFile: clientKey}, ""},
		"unknown authority":          {serving(pair), TLSConfig{}, "tls_ca"},
		"another authority":          {serving(pair), TLSConfig{CAFiles: []string{other.File}}, "tls_ca"},
		"another name":               {serving(named), TLSConfig{CAFiles: ca}, "tls_server_name"},
		"expired":                    {serving(expired), TLSConfig{CAFiles: ca}, "expired"},
		"no client certificate":      {mutual, TLSConfig{CAFiles: ca}, "tls_client_auth"},
		"another client certificate": {mutual, TLSConfig{CAFiles: ca, CertFile: strangeCert, KeyFile: strangeKey}, "tls_client_auth"},
		"no TLS":                     {nil, TLSConfig{CAFiles: ca}, "http://"},
	} {
		t.Run(name, func(t *testing.T) {
			at := "https" + strings.TrimPrefix(plain.URL, "http")
			if tt.server != nil {
				at = newSecureFake(t, tt.server.Clone()).URL
			}
			p := trying(t, UpstreamConfig{URL: at, TLS: tt.client})
			if tt.remedy == "" {
				serves(t, p)
				if s := p.Status()[0]; s.Remedy != "" {
					t.Errorf("remedy %q of a server that is up", s.Remedy)
				}
				return
			}
			until(t, "the probe has failed with a remedy", func() bool { return strings.Contains(p.Status()[0].Remedy, tt.remedy) })
			if s := p.Status()[0]; s.State == StateUp || s.Reason == "" {
				t.Errorf("got %s %q, want a reason", s.State, s.Reason)
			}
		})
	}
}

// A renewed authority counts without a restart; a file that cannot be used
// leaves the one before in force, and is refused when a configuration names it.
func TestRenewedFiles(t *testing.T) {
	authority, next := certtest.New(t), certtest.New(t)
	soon := time.Now().Add(time.Hour)
	old, _, _ := authority.Issue(t, "127.0.0.1", soon)
	renewed, _, _ := next.Issue(t, "127.0.0.1", soon)
	var mu sync.Mutex
	now, shown := &old, 0 // the renewed one, in handshakes
	f := newSecureFake(t, &tls.Config{GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) {
		mu.Lock()
		defer mu.Unlock()
		if now == &renewed {
			shown++
		}
		return &tls.Config{Certificates: []tls.Certificate{*now}}, nil
	}})
	p := trying(t, UpstreamConfig{URL: f.URL, TLS: TLSConfig{CAFiles: []string{authority.File}}})
	serves(t, p)

	was, err := os.ReadFile(authority.File)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(authority.File, []byte("half a fi"), 0o600); err != nil {
		t.Fatal(err)
	}
	p.closeIdle()
	serves(t, p)
	if err := p.Apply(p.cfg); err == nil || !strings.Contains(err.Error(), authority.File) {
		t.Errorf("Apply: %v, want the file's name", err)
	}

	pem, err := os.ReadFile(next.File)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(authority.File, append(was, pem...), 0o600); err != nil {
		t.Fatal(err)
	}
	mu.Lock()
	now = &renewed
	mu.Unlock()
	until(t, "a new connection is opened", func() bool {
		p.closeIdle()
		mu.Lock()
		defer mu.Unlock()
		return shown > 0
	})
	serves(t, p)
}

// Files that cannot be used are named.
func TestCheckFiles(t *testing.T) {
	authority := certtest.New(t)
	_, cert, key := authority.Issue(t, "gateway", time.Now().Add(time.Hour))
	_, _, otherKey := authority.Issue(t, "gateway", time.Now().Add(time.Hour))
	empty := filepath.Join(t.TempDir(), "empty.pem")
	if err := os.WriteFile(empty, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for name, tt := range map[string]struct {
		files TLSConfig
		want  string // in the error; "" for none
	}{
		"all there":      {TLSConfig{CAFiles: []string{authority.File}, CertFile: cert, KeyFile: key}, ""},
		"no such file":   {TLSConfig{CAFiles: []string{"/nowhere/ca.pem"}}, "/nowhere/ca.pem"},
		"no certificate": {TLSConfig{CAFiles: []string{authority.File, empty}}, empty},
		"no such key":    {TLSConfig{CertFile: cert, KeyFile: "/nowhere/key.pem"}, "/nowhere/key.pem"},
		"another key":    {TLSConfig{CertFile: cert, KeyFile: otherKey}, otherKey},
	} {
		err := Config{Upstreams: []UpstreamConfig{{URL: "https://gpu", TLS: tt.files}}}.CheckFiles()
		if (err == nil) != (tt.want == "") || err != nil && (!strings.Contains(err.Error(), tt.want) || !strings.Contains(err.Error(), "https://gpu")) {
			t.Errorf("%s: got %v, want %q", name, err, tt.want)
		}
	}
}

// Options of TLS that have no effect are refused.
func TestTLSOptionsValidate(t *testing.T) {
	for name, u := range map[string]UpstreamConfig{
		"http":           {URL: "http://a", TLS: TLSConfig{ServerName: "b"}},
		"socket":         {URL: "unix//a", TLS: TLSConfig{InsecureSkipVerify: true}},
		"half a pair":    {URL: "https://a", TLS: TLSConfig{CertFile: "c"}},
		"none and some":  {URL: "https://a", TLS: TLSConfig{CAFiles: []string{"c"}, InsecureSkipVerify: true}},
		"a nameless one": {URL: "https://a", TLS: TLSConfig{CAFiles: []string{""}}},
	} {
		if err := (Config{Upstreams: []UpstreamConfig{u}}).Validate(); err == nil || !strings.Contains(err.Error(), "tls") {
			t.Errorf("%s: got %v, want an error that names tls", name, err)
		}
	}
}

func TestUnixSocket(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "vllm.sock")
	ln, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	f := makeFake()
	f.Server = &httptest.Server{Listener: ln, Config: &http.Server{Handler: f}}
	f.Start()
	t.Cleanup(f.Close)
	p := trying(t, UpstreamConfig{URL: "unix/" + socket})
	serves(t, p)
	if s := p.Status()[0]; s.URL != "unix/"+socket {
		t.Errorf("got %q, want %q", s.URL, "unix/"+socket)
	}
	if err := p.Drain("unix/" + socket); err != nil {
		t.Error(err)
	}
}

// TestPathPrefix checks that /v1 of a base URL with a prefix is not repeated in request paths,
// and that the reason names a prefix that does not exist.
func TestPathPrefix(t *testing.T) {
	f := makeFake()
	f.Server = httptest.NewServer(http.StripPrefix("/team", f))
	t.Cleanup(f.Close)
	serves(t, trying(t, UpstreamConfig{URL: f.URL + "/team/v1"}))
	wrong := trying(t, UpstreamConfig{URL: f.URL + "/tema"})
	until(t, "the reason names the path", func() bool { return strings.Contains(wrong.Status()[0].Reason, "/tema/v1/models") })
}

// Each server gets its own key, or the pool's, and the client's only where there
// is neither.
func TestKeysPerUpstream(t *testing.T) {
	for name, tt := range map[string]struct{ own, pool, want, wantXAPIKey string }{
		"own":           {"own", "", "Bearer own", ""},
		"own over pool": {"own", "pool", "Bearer own", ""},
		"pool":          {"", "pool", "Bearer pool", ""},
		"none":          {"", "", "Bearer client", "client"},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFake(t)
			var mu sync.Mutex
			var live, probe http.Header
			set(&f.serve, func(w http.ResponseWriter, r *http.Request) {
				mu.Lock()
				live = r.Header.Clone()
				mu.Unlock()
				answerJSON(w, r)
			})
			set(&f.listed, func(w http.ResponseWriter, r *http.Request) {
				mu.Lock()
				probe = r.Header.Clone()
				mu.Unlock()
				f.list(w, r)
			})
			cfg := quick()
			cfg.APIKey = tt.pool
			cfg.Upstreams = []UpstreamConfig{{URL: f.URL, APIKey: tt.own}}
			p := startPool(t, cfg)
			r := httptest.NewRequest(http.MethodPost, "/v1/chat/completions", strings.NewReader(chatBody(model)))
			r.Header.Set("Authorization", "Bearer client")
			r.Header.Set("X-Api-Key", "client")
			NewProxy(p, zap.NewNop(), nil).ServeHTTP(httptest.NewRecorder(), r)
			mu.Lock()
			defer mu.Unlock()
			if got := live.Get("Authorization"); got != tt.want {
				t.Errorf("live: got %q, want %q", got, tt.want)
			}
			if got := live.Get("X-Api-Key"); got != tt.wantXAPIKey {
				t.Errorf("live X-Api-Key: got %q, want %q", got, tt.wantXAPIKey)
			}
			wantProbe := tt.want
			if tt.own+tt.pool == "" {
				wantProbe = ""
			}
			if got := probe.Get("Authorization"); got != wantProbe {
				t.Errorf("probe: got %q, want %q", got, wantProbe)
			}
			if tt.own == "" {
				return
			}
			slot, err := p.Reserve(model, "")
			if err != nil {
				t.Fatal(err)
			}
			defer slot.Release()
			mu.Unlock()
			_, err = slot.Send(t.Context(), "/v1/chat/completions", []byte(chatBody(model)))
			mu.Lock()
			if got := live.Get("Authorization"); err != nil || got != tt.want {
				t.Errorf("batch: got %q, %v, want %q", got, err, tt.want)
			}
		})
	}
}
