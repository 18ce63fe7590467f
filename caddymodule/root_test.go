package caddymodule

import (
	"net"
	"net/http"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"
	_ "github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile" // the adapter
	_ "github.com/caddyserver/caddy/v2/modules/caddyhttp/rewrite" // handle_path
)

// A browser that asks for the root of a site gets the dashboard of that site; other
// clients, and sites that have none, get what they always got.
func TestRootGoesToDashboard(t *testing.T) {
	_, url := newSim(t)
	g := newGateway(t, url)
	g.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	_, port, err := net.SplitHostPort(g.addr)
	if err != nil {
		t.Fatal(err)
	}
	sites := ""
	for host, site := range map[string]string{
		"plain":  "tidegate",
		"route":  "route {\n tidegate_api\n tidegate_dashboard {\n path /ops/board\n}\n tidegate_proxy\n}",
		"handle": "handle /v1/* {\n tidegate\n}\n handle {\n tidegate_dashboard {\n path /own/\n}\n tidegate_proxy\n}",
		"api":    "tidegate_api\n tidegate_proxy",
		"prefix": "handle_path /llm/* {\n tidegate\n}\n respond 418",
	} {
		sites += "http://" + host + ":" + port + " {\n bind 127.0.0.1\n" + site + "\n}\n"
	}
	// A port of its own, so that this site knows no other's name.
	text, _, err := caddyconfig.GetAdapter("caddyfile").Adapt([]byte("{\n admin off\n persist_config off\n tidegate {\n data "+t.TempDir()+"\n pool {\n upstream "+url+"\n}\n}\n}\n"+sites+"http://:"+port+" {\n bind 127.0.0.1\n tidegate\n}\n"), nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := caddy.Load(text, true); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := caddy.Stop(); err != nil {
			t.Error(err)
		}
	})
	const browser = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"
	for name, tt := range map[string]struct {
		method, host, path, accept string
		want                       int
		location                   string
	}{
		"browser":                    {"GET", "plain", "/", browser, 303, "/dashboard"},
		"browser, HEAD":              {"HEAD", "plain", "/", browser, 303, "/dashboard"},
		"browser, POST":              {"POST", "plain", "/", browser, 404, ""},
		"loopback":                   {"GET", "127.0.0.1", "/", browser, 303, "/dashboard"},
		"path of the site":           {"GET", "route", "/", browser, 303, "/ops/board"},
		"handle":                     {"GET", "handle", "/", browser, 303, "/own"},
		"no dashboard":               {"GET", "api", "/", browser, 404, ""},
		"below a prefix":             {"GET", "prefix", "/llm/", browser, 404, ""},
		"beside a prefix":            {"GET", "prefix", "/", browser, 418, ""},
		"foreign host":               {"GET", "evil.example", "/", browser, 421, ""},
		"another path":               {"GET", "plain", "/x", browser, 404, ""},
		"curl":                       {"GET", "plain", "/", "*/*", 404, ""},
		"a library":                  {"GET", "plain", "/", "application/json, text/plain, */*", 404, ""},
		"no Accept":                  {"GET", "plain", "/", "", 404, ""},
		"text of any kind":           {"GET", "plain", "/", "text/*", 404, ""},
		"upper case":                 {"GET", "plain", "/", "Text/HTML", 303, "/dashboard"},
		"weight":                     {"GET", "plain", "/", "application/json, text/html;q=0.1", 303, "/dashboard"},
		"weight of 0":                {"GET", "plain", "/", "application/json, text/html;q=0", 404, ""},
		"weight of 0.0 with a space": {"GET", "plain", "/", "text/html; q=0.0, */*", 404, ""},
		"another type like it":       {"GET", "plain", "/", "text/html5", 404, ""},
	} {
		t.Run(name, func(t *testing.T) {
			r, err := http.NewRequestWithContext(t.Context(), tt.method, "http://"+g.addr+tt.path, nil)
			if err != nil {
				t.Fatal(err)
			}
			r.Host = tt.host + ":" + port
			if tt.accept != "" {
				r.Header.Set("Accept", tt.accept)
			}
			answer, err := g.Do(r)
			if err != nil {
				t.Fatal(err)
			}
			defer answer.Body.Close()
			if got := answer.Header.Get("Location"); answer.StatusCode != tt.want || got != tt.location {
				t.Errorf("got %d to %q, want %d to %q", answer.StatusCode, got, tt.want, tt.location)
			}
		})
	}
}

// The access log of serve has the format that leaves keys out.
func TestAccessLogWithoutKeys(t *testing.T) {
	cfg, err := serveOptions{upstreams: []string{"http://gpu-0:8000"}, listen: "127.0.0.1:0", accessLog: true}.config()
	if err != nil {
		t.Fatal(err)
	}
	if got := string(cfg.Logging.Logs["default"].EncoderRaw); got != `{"format": "tidegate"}` {
		t.Errorf("got the encoder %s, want the format tidegate", got)
	}
}
