package caddymodule

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/tidegate/tidegate/upstreams"
)

func TestUpstreamsAPI(t *testing.T) {
	_, url := newSim(t)
	g := newGateway(t, url)
	g.app.APIKeys = []string{"secret"}
	g.run(t)
	key := []string{"Authorization", "Bearer secret", "Content-Type", "application/json"}
	draining := func(a answer) bool {
		t.Helper()
		var list upstreamList
		if err := json.Unmarshal([]byte(a.body), &list); err != nil || a.status != 200 || list.Object != "list" || len(list.Data) != 1 {
			t.Fatalf("got %d %s, %v; want a list of one server", a.status, a.body, err)
		}
		if u := list.Data[0]; u.Object != "upstream" || u.URL != url {
			t.Errorf("got %+v, want the upstream %s", u, url)
		}
		return list.Data[0].Draining
	}
	body := `{"url":"` + url + `/"}`
	if draining(g.ask(t, "GET", "/upstreams", "", key...)) {
		t.Error("server drains before the drain request")
	}
	if !draining(g.ask(t, "POST", "/upstreams/drain", body, key...)) {
		t.Error("it does not drain")
	}
	if got := runningPool().Status()[0]; !got.Draining || got.State != upstreams.StateDraining || got.DrainedBy != "an API request from 127.0.0.1" {
		t.Errorf("the pool has %+v, want it draining", got)
	}
	if a := g.ask(t, "POST", "/v1/chat/completions", chat, key...); a.status != 503 {
		t.Errorf("a live request got %d %s, want 503", a.status, a.body)
	}
	_, s := g.health(t, key...)
	if s.Status != "degraded" || len(s.Problems) != 1 || s.Live.Requests != 1 || s.Live.Failed != 1 {
		t.Fatalf("health %+v, want degraded by one problem", s)
	}
	if p := s.Problems[0]; p.Model != "m" || p.Problem != upstreams.ProblemNoServer || p.Servers != 1 || p.Available != 0 || p.Failed != 1 || !strings.Contains(p.Reason, "by an API request from 127.0.0.1") {
		t.Errorf("problem %+v, want that the only server of m is drained", p)
	}
	report := g.ask(t, "GET", "/doctor", "", key...)
	if !strings.Contains(report.body, "No server takes requests for m: "+url+" is drained since") || !strings.Contains(report.body, `"failed"`) {
		t.Errorf("the doctor says %s", report.body)
	}
	if draining(g.ask(t, "POST", "/upstreams/undrain", body, key...)) {
		t.Error("it drains after undrain")
	}
	for _, tt := range []struct {
		method, path, body string
		status             int
		say                string
	}{
		{"POST", "/upstreams/drain", `{"url":"http://other"}`, 404, "no server 'http://other'"},
		{"POST", "/upstreams/drain", `{}`, 400, "url of a server"},
		{"POST", "/upstreams/drain", `[`, 400, "url of a server"},
		{"POST", "/upstreams/drain", `{"url":"` + strings.Repeat("x", maxDrainBody) + `"}`, 400, "url of a server"},
		{"GET", "/upstreams/drain", "", 405, ""},
		{"POST", "/upstreams", body, 405, ""},
		{"POST", "/upstreams/other", body, 404, ""},
	} {
		a := g.ask(t, tt.method, tt.path, tt.body, key...)
		a.wantError(t, tt.status, "invalid_request_error")
		if !strings.Contains(a.body, tt.say) {
			t.Errorf("%s %s: got %s, want %q in it", tt.method, tt.path, a.body, tt.say)
		}
	}
	for _, path := range []string{"/upstreams", "/upstreams/drain", "/upstreams/undrain"} {
		g.ask(t, "POST", path, body).wantError(t, 401, "invalid_request_error")
	}
}
