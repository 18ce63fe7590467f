package caddymodule

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

// A gateway without keys does what its own machine asks for, and nothing that a
// web page of another origin or another machine sends.
func TestGuard(t *testing.T) {
	const jsonType = "application/json"
	loopback := guard{}
	named := guard{hosts: []string{"llm.example.com", "*.apps.example.com"}}
	behind := guard{off: true}
	behindNamed := guard{off: true, named: true, hosts: []string{"gateway"}}
	trusting := guard{cors: cors{"https://app.example.com"}}
	keyed := guard{keyed: func() bool { return true }}
	for name, tt := range map[string]struct {
		guard              guard
		method, host, from string
		kind, body         string
		header             []string
		want               int // 0: admitted
	}{
		"loopback":                     {guard: loopback},
		"localhost":                    {guard: loopback, host: "localhost:8080"},
		"a name below localhost":       {guard: loopback, host: "llm.localhost"},
		"IPv6":                         {guard: loopback, host: "[::1]:8080", from: "[::1]:9"},
		"rebound name":                 {guard: loopback, host: "evil.example:8080", want: 421},
		"rebound name, read":           {guard: loopback, method: "GET", host: "evil.example", want: 421},
		"localhost as a label":         {guard: loopback, host: "localhost.evil.example", want: 421},
		"address of another machine":   {guard: loopback, host: "192.0.2.7:8080", want: 421},
		"another machine":              {guard: loopback, from: "192.0.2.7:9", want: 403},
		"another machine, by name":     {guard: named, host: "llm.example.com", from: "192.0.2.7:9", want: 403},
		"Unix socket":                  {guard: loopback, from: "@"},
		"configured name":              {guard: named, host: "LLM.example.com."},
		"configured wildcard":          {guard: named, host: "a.apps.example.com"},
		"below a wildcard":             {guard: named, host: "a.b.apps.example.com", want: 421},
		"auth off":                     {guard: behind, host: "any.example", from: "192.0.2.7:9"},
		"auth off, hosts":              {guard: behindNamed, host: "gateway:8080", from: "192.0.2.7:9"},
		"auth off, hosts, an address":  {guard: behindNamed, host: "192.0.2.1", from: "192.0.2.7:9"},
		"auth off, hosts, rebound":     {guard: behindNamed, host: "evil.example", from: "192.0.2.7:9", want: 421},
		"page of the same origin":      {guard: loopback, header: []string{"Origin", "http://127.0.0.1:8080", "Sec-Fetch-Site", "same-origin"}},
		"page of another site":         {guard: loopback, header: []string{"Origin", "https://evil.example", "Sec-Fetch-Site", "cross-site"}, want: 403},
		"page of another port":         {guard: loopback, header: []string{"Origin", "http://127.0.0.1:9", "Sec-Fetch-Site", "same-site"}, want: 403},
		"page in an old browser":       {guard: loopback, header: []string{"Origin", "https://evil.example"}, want: 403},
		"page in a sandbox":            {guard: loopback, header: []string{"Origin", "null"}, want: 403},
		"page that deletes":            {guard: loopback, method: "DELETE", header: []string{"Sec-Fetch-Site", "cross-site"}, want: 403},
		"page of a listed origin":      {guard: trusting, header: []string{"Origin", "https://app.example.com", "Sec-Fetch-Site", "cross-site"}},
		"page of an origin not listed": {guard: trusting, header: []string{"Origin", "https://app.example.com.evil.example", "Sec-Fetch-Site", "cross-site"}, want: 403},
		"page, auth off":               {guard: behind, header: []string{"Sec-Fetch-Site", "cross-site"}, want: 403},
		"JSON":                         {guard: loopback, body: "{}", kind: jsonType + "; charset=utf-8"},
		"no type":                      {guard: loopback, body: "{}", want: 415},
		"text":                         {guard: loopback, body: "{}", kind: "text/plain;charset=UTF-8", want: 415},
		"form":                         {guard: loopback, body: "{}", kind: "application/x-www-form-urlencoded", want: 415},
		"no body, no type":             {guard: loopback},
		"upload":                       {guard: loopback, body: "--b--", kind: "multipart/form-data; boundary=b"},
		"keys":                         {guard: keyed, host: "any.example", from: "192.0.2.7:9", body: "{}", header: []string{"Origin", "app://desktop"}},
	} {
		t.Run(name, func(t *testing.T) {
			method, host, from := tt.method, tt.host, tt.from
			if method == "" {
				method = http.MethodPost
			}
			if host == "" {
				host = "127.0.0.1:8080"
			}
			if from == "" {
				from = "127.0.0.1:9"
			}
			r := httptest.NewRequest(method, "/v1/batches", strings.NewReader(tt.body))
			r.Host, r.RemoteAddr = host, from
			if tt.kind != "" {
				r.Header.Set("Content-Type", tt.kind)
			}
			for i := 0; i < len(tt.header); i += 2 {
				r.Header.Set(tt.header[i], tt.header[i+1])
			}
			got := 0
			if err := tt.guard.checkAPI(r); err != nil {
				got = err.Status
			}
			if got != tt.want {
				t.Errorf("got status %d, want %d (0: admitted)", got, tt.want)
			}
		})
	}
}

// Every route refuses the page of another origin and a rebound name before it
// does anything, and a browser that asks for the root gets the dashboard.
func TestGuardOnRoutes(t *testing.T) {
	sim, url := newSim(t)
	g := newGateway(t, url)
	g.run(t)
	for _, path := range []string{"/v1/chat/completions", "/v1/files", "/v1/uploads", "/v1/batches", "/v1/batches/batch_x/cancel", "/upstreams/drain", "/contents/adopt", "/tokenize"} {
		g.ask(t, "POST", path, chat, "Origin", "https://evil.example", "Sec-Fetch-Site", "cross-site").wantError(t, 403, "invalid_request_error")
		g.ask(t, "POST", path, chat, "Content-Type", "text/plain").wantError(t, 415, "invalid_request_error")
		preflight := g.ask(t, "OPTIONS", path, "", "Origin", "https://evil.example", "Access-Control-Request-Method", "POST")
		preflight.wantError(t, 403, "invalid_request_error")
		if !strings.Contains(preflight.body, "cors https://evil.example") {
			t.Errorf("%s: the answer does not say what to configure: %s", path, preflight.body)
		}
	}
	for _, path := range []string{"/v1/models", "/v1/files", "/health", "/doctor", "/upstreams"} {
		r, err := http.NewRequestWithContext(t.Context(), "GET", "http://"+g.addr+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		r.Host = "evil.example"
		got, err := g.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		got.Body.Close()
		if got.StatusCode != http.StatusMisdirectedRequest {
			t.Errorf("%s for a foreign host: got %d, want 421", path, got.StatusCode)
		}
	}
	if n := sim.Stats().Calls; n != 0 {
		t.Errorf("%d requests reached the server, want none", n)
	}
}

// Listed origins get their preflight and their answers, errors included.
func TestCORS(t *testing.T) {
	_, url := newSim(t)
	for _, keys := range [][]string{nil, {"k"}} {
		for _, list := range []cors{{"*"}, {"https://app.example.com"}} {
			t.Run(list[0], func(t *testing.T) {
				g := newGateway(t, url)
				g.app.CORS, g.app.APIKeys = list, keys
				g.run(t)
				want := list[0]
				a := g.ask(t, "OPTIONS", "/v1/chat/completions", "", "Origin", "https://app.example.com", "Access-Control-Request-Method", "POST", "Access-Control-Request-Headers", "authorization,content-type")
				if a.status != 204 || a.header.Get("Access-Control-Allow-Origin") != want || a.header.Get("Access-Control-Allow-Headers") != "authorization,content-type" {
					t.Errorf("preflight: got %d %v", a.status, a.header)
				}
				a = g.ask(t, "POST", "/v1/chat/completions", chat, "Origin", "https://app.example.com", "Sec-Fetch-Site", "cross-site", "Authorization", "Bearer k")
				if a.status != 200 || a.header.Get("Access-Control-Allow-Origin") != want || a.header.Get("Access-Control-Allow-Credentials") != "" {
					t.Errorf("request: got %d %v", a.status, a.header)
				}
				if a = g.ask(t, "GET", "/v1/batches/none", "", "Origin", "https://app.example.com"); a.header.Get("Access-Control-Allow-Origin") != want {
					t.Errorf("error: got %d %v", a.status, a.header)
				}
			})
		}
	}
}
