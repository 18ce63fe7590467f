package caddymodule

import (
	"encoding/json"
	"net/http"
	"testing"

	"github.com/caddyserver/caddy/v2"
)

// A browser that asks for the root gets the dashboard; other clients get what
// they always got.
func TestRootGoesToDashboard(t *testing.T) {
	_, url := newSim(t)
	g := newGateway(t, url)
	g.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	cfg, err := serveOptions{upstreams: []string{url}, listen: g.addr, data: t.TempDir()}.config()
	if err != nil {
		t.Fatal(err)
	}
	text, err := json.Marshal(cfg)
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
	if a := g.ask(t, "GET", "/", "", "Accept", "text/html,*/*;q=0.8"); a.status != http.StatusSeeOther || a.header.Get("Location") != defaultDashboard {
		t.Errorf("browser: got %d to %q, want 303 to %s", a.status, a.header.Get("Location"), defaultDashboard)
	}
	g.ask(t, "GET", "/", "", "Accept", "*/*").wantError(t, 404, "invalid_request_error")
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
