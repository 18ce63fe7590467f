package caddymodule

import (
	"net/http"
	"net/http/httptest"
	"testing"
)

// Those who may read the dashboard may read metrics, unless the configuration says
// otherwise.
func TestWhoMayScrape(t *testing.T) {
	const remote = "192.0.2.7:9"
	for name, tt := range map[string]struct {
		app        App
		from, host string
		method     string
		header     []string
		basic      string // password
		want       int
	}{
		"this machine":                      {want: 200},
		"this machine, HEAD":                {method: "HEAD", want: 200},
		"this machine, POST":                {method: "POST", want: 405},
		"another machine":                   {from: remote, want: 403},
		"rebound name":                      {host: "evil.example", want: 421},
		"auth off, another machine":         {app: App{AuthOff: true}, from: remote, host: "gateway", want: 200},
		"keys, none shown":                  {app: App{APIKeys: []string{"a"}}, want: 401},
		"keys, a wrong one":                 {app: App{APIKeys: []string{"a"}}, header: []string{"Authorization", "Bearer b"}, want: 401},
		"keys, as bearer token":             {app: App{APIKeys: []string{"a"}}, from: remote, header: []string{"Authorization", "Bearer a"}, want: 200},
		"keys, as password":                 {app: App{APIKeys: []string{"a"}}, from: remote, basic: "a", want: 200},
		"keys, a wrong password":            {app: App{APIKeys: []string{"a"}}, basic: "b", want: 401},
		"public":                            {app: App{Metrics: MetricsConfig{Public: true}}, from: remote, host: "gateway", want: 200},
		"public, beside keys":               {app: App{APIKeys: []string{"a"}, Metrics: MetricsConfig{Public: true}}, from: remote, want: 200},
		"own keys, none shown":              {app: App{Metrics: MetricsConfig{Keys: []string{"m"}}}, want: 401},
		"own keys, auth off":                {app: App{AuthOff: true, Metrics: MetricsConfig{Keys: []string{"m"}}}, from: remote, want: 401},
		"own keys, another machine":         {app: App{Metrics: MetricsConfig{Keys: []string{"l", "m"}}}, from: remote, host: "gateway", header: []string{"Authorization", "Bearer m"}, want: 200},
		"own keys, as password":             {app: App{Metrics: MetricsConfig{Keys: []string{"m"}}}, from: remote, basic: "m", want: 200},
		"own keys, an API key":              {app: App{APIKeys: []string{"a"}, Metrics: MetricsConfig{Keys: []string{"m"}}}, header: []string{"Authorization", "Bearer a"}, want: 200},
		"own keys beside API keys, neither": {app: App{APIKeys: []string{"a"}, Metrics: MetricsConfig{Keys: []string{"m"}}}, header: []string{"Authorization", "Bearer x"}, want: 401},
	} {
		t.Run(name, func(t *testing.T) {
			var err error
			if tt.app.keys, err = tt.app.loadKeys(&secrets{}); err != nil {
				t.Fatal(err)
			}
			h := &APIHandler{
				door:       door{app: &tt.app, guard: guard{keyed: func() bool { return len(tt.app.APIKeys) > 0 }, off: tt.app.AuthOff}},
				exposition: &exposition{all: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusOK) })},
			}
			if h.scrapers, err = newKeyring(tt.app.Metrics.Keys); err != nil {
				t.Fatal(err)
			}
			method, from, host := tt.method, tt.from, tt.host
			if method == "" {
				method = http.MethodGet
			}
			if from == "" {
				from = "127.0.0.1:9"
			}
			if host == "" {
				host = "127.0.0.1:8080"
			}
			r := httptest.NewRequest(method, "/metrics", nil)
			r.RemoteAddr, r.Host = from, host
			for i := 0; i < len(tt.header); i += 2 {
				r.Header.Set(tt.header[i], tt.header[i+1])
			}
			if tt.basic != "" {
				r.SetBasicAuth("prometheus", tt.basic)
			}
			w := httptest.NewRecorder()
			h.metrics(w, r)
			if w.Code != tt.want {
				t.Errorf("got status %d, want %d: %s", w.Code, tt.want, w.Body)
			}
			if asked := w.Header().Get("WWW-Authenticate") != ""; asked != (tt.want == 401) {
				t.Errorf("WWW-Authenticate is %q with status %d", w.Header().Get("WWW-Authenticate"), w.Code)
			}
		})
	}
}

// A key for metrics opens nothing else, and `metrics off` leaves no route.
func TestScrapersKeyOpensNothingElse(t *testing.T) {
	_, url := newSim(t)
	g := newGateway(t, url)
	g.app.APIKeys, g.app.Metrics.Keys = []string{"client"}, []string{"scraper"}
	g.run(t)
	for _, path := range []string{"/v1/models", "/v1/batches", "/v1/files", "/upstreams", "/doctor"} {
		g.ask(t, "GET", path, "", "Authorization", "Bearer scraper").wantError(t, 401, "invalid_request_error")
	}
	if a := g.ask(t, "GET", "/health", "", "Authorization", "Bearer scraper"); a.body != `{"status":"ok"}`+"\n" {
		t.Errorf("/health with a scraper's key: got %s, want the status alone", a.body)
	}
}
