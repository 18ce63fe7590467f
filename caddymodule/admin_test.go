package caddymodule

import (
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"

	"github.com/tidegate/tidegate/upstreams"
)

// admin sends a request to the admin endpoint; a refusal returns its status and no
// upstreams.
func admin(t *testing.T, method, target, body string) (int, []upstreams.UpstreamStatus) {
	t.Helper()
	r := httptest.NewRequest(method, target, strings.NewReader(body))
	for _, route := range (adminAPI{}).Routes() {
		if route.Pattern != r.URL.Path {
			continue
		}
		w := httptest.NewRecorder()
		if err := route.Handler.ServeHTTP(w, r); err != nil {
			refusal, ok := errors.AsType[caddy.APIError](err)
			if !ok {
				t.Fatalf("%s %s: %v", method, target, err)
			}
			return refusal.HTTPStatus, nil
		}
		var all []upstreams.UpstreamStatus
		if err := json.Unmarshal(w.Body.Bytes(), &all); err != nil {
			t.Fatalf("%s: %s", err, w.Body)
		}
		return w.Code, all
	}
	t.Fatalf("no route %s", r.URL.Path)
	return 0, nil
}

// TestDrain checks that a drained server gets no new requests, also after a reload.
func TestDrain(t *testing.T) {
	drainedSim, one := newSim(t)
	_, two := newSim(t)
	g := newGateway(t, one, two)
	g.run(t)
	query := "?url=" + url.QueryEscape(one)
	if status, all := admin(t, "GET", "/tidegate/upstreams", ""); status != 200 || len(all) != 2 {
		t.Fatalf("%d %+v", status, all)
	}
	status, all := admin(t, "POST", "/tidegate/upstreams/drain"+query, "")
	if status != 200 || all[0].State != upstreams.StateDraining || all[1].State != upstreams.StateUp {
		t.Fatalf("%d %+v", status, all)
	}
	g.app.Batch.MaxInFlight = 7
	g.load(t)
	for range 20 {
		if a := g.ask(t, "POST", "/v1/chat/completions", chat); a.status != 200 {
			t.Fatalf("%d %s", a.status, a.body)
		}
	}
	if n := drainedSim.Stats().Calls; n != 0 {
		t.Errorf("the drained server got %d requests", n)
	}
	if status, s := g.health(t); status != 200 || s.Status != "ok" {
		t.Errorf("health while one is drained on purpose: %d %+v", status, s)
	}
	body := `{"url":"` + one + `"}`
	if status, all := admin(t, "POST", "/tidegate/upstreams/undrain", body); status != 200 || all[0].State != upstreams.StateUp {
		t.Fatalf("%d %+v", status, all)
	}
	until(t, "it gets requests again", func() bool {
		g.ask(t, "POST", "/v1/chat/completions", chat)
		return drainedSim.Stats().Calls > 0
	})
}

func TestAdminRefuses(t *testing.T) {
	_, one := newSim(t)
	g := newGateway(t, one)
	g.run(t)
	for name, tt := range map[string]struct {
		method, target, body string
		want                 int
	}{
		"list by POST":        {"POST", "/tidegate/upstreams", "", http.StatusMethodNotAllowed},
		"drain by GET":        {"GET", "/tidegate/upstreams/drain?url=" + one, "", http.StatusMethodNotAllowed},
		"no url":              {"POST", "/tidegate/upstreams/drain", "", http.StatusBadRequest},
		"no JSON":             {"POST", "/tidegate/upstreams/undrain", "url", http.StatusBadRequest},
		"an endless body":     {"POST", "/tidegate/upstreams/drain", `{"url":"` + strings.Repeat("a", 1<<17), http.StatusBadRequest},
		"a server not in use": {"POST", "/tidegate/upstreams/drain?url=http://elsewhere:1", "", http.StatusNotFound},
		"an empty one":        {"POST", "/tidegate/upstreams/drain", `{}`, http.StatusNotFound},
	} {
		t.Run(name, func(t *testing.T) {
			if status, _ := admin(t, tt.method, tt.target, tt.body); status != tt.want {
				t.Errorf("%d, want %d", status, tt.want)
			}
		})
	}
	if s := g.runtime(t).pool.Status(); s[0].State != upstreams.StateUp {
		t.Errorf("%+v", s)
	}
}
