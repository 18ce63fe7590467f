package caddymodule

import (
	"bufio"
	"crypto/sha256"
	"encoding/hex"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/tidegate/tidegate/internal/vllmsim"
)

// Names of models: the keys in TestModelsOfOthers that are limited to models may use ownModel
// and wantedModel, which no server has. canary is in the names of all others.
const (
	ownModel    = "own-model"
	wantedModel = "kanarie-secre"
	canary      = "kanarie-secret"
)

// TestModelsOfOthers finds a route that tells a key that is limited to some models the name
// of another: every route is asked with such a key of an administrator, and one of a reader.
// A key without a limit must see the name where it is expected, so that the test does not
// pass in vain.
func TestModelsOfOthers(t *testing.T) {
	var urls []string
	for _, models := range [][]string{{canary, ownModel}, {canary}, {canary + "-drained"}} {
		sim := vllmsim.New(vllmsim.Config{Models: models})
		srv := httptest.NewServer(sim)
		t.Cleanup(func() { sim.Close(); srv.CloseClientConnections(); srv.Close() })
		urls = append(urls, srv.URL)
	}
	g := newGateway(t, urls...)
	for _, k := range []KeyConfig{
		{Name: "boss", Tenant: "team-a", Scopes: []string{"admin"}},
		{Name: "hidden", Tenant: "team-a", Scopes: []string{"live"}, Models: []string{canary}},
		{Name: "chief", Tenant: "team-b", Scopes: []string{"admin"}, Models: []string{ownModel, wantedModel}},
		{Name: "reader", Tenant: "team-b", Scopes: []string{"operate", "batch", "live"}, Models: []string{ownModel, wantedModel}},
		{Name: "colleague", Tenant: "team-a", Scopes: []string{"operate"}, Models: []string{ownModel}},
	} {
		t.Setenv("KEY_"+strings.ToUpper(k.Name), k.Name+"-secret")
		k.Secret = "{env.KEY_" + strings.ToUpper(k.Name) + "}"
		g.app.Keys = append(g.app.Keys, k)
	}
	g.runAll(t)
	post := func(path, body string) {
		t.Helper()
		if a := g.ask(t, "POST", path, body, bearer("boss")...); a.status != 200 {
			t.Fatalf("%s: got %d %s", path, a.status, a.body)
		}
	}
	line := func(model string) string {
		return `{"custom_id":"1","method":"POST","url":"/v1/chat/completions","body":{"model":"` + model + `","messages":[{"role":"user","content":"hi"}]}}`
	}
	post("/v1/chat/completions", `{"model":"`+canary+`","messages":[{"role":"user","content":"hi"}]}`)
	post("/v1/keys", `{"name":"made","models":["`+canary+`"]}`)
	post("/upstreams/drain", `{"url":"`+urls[2]+`"}`)
	_, waiting := g.createOf(t, "boss", line(canary+"-drained"))
	until(t, "the usage is written and the batch waits", func() bool {
		return strings.Contains(g.ask(t, "GET", "/v1/usage?group_by=model", "", bearer("boss")...).body, canary) &&
			strings.Contains(g.ask(t, "GET", "/v1/batches/"+waiting, "", bearer("boss")...).body, "waiting for model") &&
			strings.Contains(g.ask(t, "GET", "/v1/batches/demand", "", bearer("boss")...).body, canary)
	})

	sum := sha256.Sum256([]byte(urls[0]))
	server := "/dashboard/upstreams/" + hex.EncodeToString(sum[:6])
	seen := map[string]bool{
		"/upstreams": false, "/health": false, "/doctor": false, "/metrics": false, "/v1/models": false, "/v1/batches/demand": false, "/v1/keys": false, "/v1/audit": false,
		"/v1/usage?group_by=model": false, "/v1/batches?tenant=team-a": false, "/dashboard/": false, "/dashboard/wall": false, "/dashboard/upstreams": false, server: false,
		"/dashboard/doctor": false, "/dashboard/keys": false, "/dashboard/audit": false, "/dashboard/batches": false, "/dashboard/batches?whose=all": false, "/dashboard/new": false,
	}
	type request struct{ method, path string }
	var all []request
	for path := range seen {
		all = append(all, request{"GET", path})
	}
	for _, format := range []string{"jsonl", "csv"} {
		all = append(all, request{"GET", "/v1/audit?format=" + format})
	}
	all = append(all, request{"GET", "/v1/usage?group_by=model&tenant=team-a"}, request{"GET", "/dashboard/usage?by=model"}, request{"GET", "/v1/models/" + canary})
	for _, rt := range allRoutes(t) {
		path := strings.Replace(rt.path, "{key}", server[strings.LastIndex(server, "/")+1:], 1)
		if !strings.Contains(path, "/events/") && rt.path != "/dashboard/upstreams/{key}/drain" {
			all = append(all, request{rt.method, concrete(path, waiting, "file-00000000000000000000000000000000", "upload_00000000000000000000000000000000")})
		}
	}
	for _, rq := range all {
		for _, key := range []string{"chief", "reader"} {
			if a := g.ask(t, rq.method, rq.path, `{"messages":[]}`, bearer(key)...); strings.Contains(a.body, canary) && rq.path != "/v1/models/"+canary {
				at := strings.Index(a.body, canary)
				t.Errorf("%s %s by %s names a model of others: %d …%s", rq.method, rq.path, key, a.status, a.body[max(0, at-100):at+len(canary)])
			}
		}
	}
	for path := range seen {
		if a := g.ask(t, "GET", path, "", bearer("boss")...); !strings.Contains(a.body, canary) {
			t.Errorf("%s by an administrator without a limit: %d without %s; does the test find anything there?", path, a.status, canary)
		}
	}
	if a := g.ask(t, "GET", "/v1/batches/demand", "", bearer("colleague")...); a.status != 200 || strings.Contains(a.body, canary) {
		t.Errorf("demand of the same tenant: %d %s, want none of %s", a.status, a.body, canary)
	}
	for _, path := range []string{"/upstreams", "/health", "/doctor", "/metrics", "/dashboard/", server} {
		if a := g.ask(t, "GET", path, "", bearer("reader")...); a.status != 200 || !strings.Contains(a.body, ownModel) {
			t.Errorf("%s by a key limited to %s: %d without this model", path, ownModel, a.status)
		}
	}
	for _, path := range []string{"/", "/wall", "/upstreams", strings.TrimPrefix(server, "/dashboard")} {
		stream := "/dashboard/events" + path
		if text := g.eventWith(t, stream, ownModel, "reader"); strings.Contains(text, canary) {
			t.Errorf("%s names a model of others: %s", stream, text)
		}
		if text := g.eventWith(t, stream, ownModel, "boss"); !strings.Contains(text, canary) {
			t.Errorf("%s to an administrator without a limit has no %s: %s", stream, canary, text)
		}
	}
	for key, names := range map[string]bool{"reader": false, "boss": true} {
		_, made := g.createOf(t, key, line(wantedModel))
		until(t, "the batch has failed", func() bool {
			return strings.Contains(g.ask(t, "GET", "/v1/batches/"+made, "", bearer(key)...).body, "is not served here")
		})
		if text := g.ask(t, "GET", "/v1/batches/"+made, "", bearer(key)...).body; strings.Contains(text, canary) != names {
			t.Errorf("similar models in the findings of a batch by %s: %s; want them: %t", key, text, names)
		}
	}
}

// eventWith returns what an event stream sends up to the end of the event with a text.
func (g *gateway) eventWith(t *testing.T, path, text, key string) string {
	t.Helper()
	client := &http.Client{Timeout: 20 * time.Second}
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+g.addr+path, http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	header := bearer(key)
	r.Header.Set(header[0], header[1])
	answer, err := client.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	var got strings.Builder
	lines := bufio.NewReader(answer.Body)
	for {
		line, err := lines.ReadString('\n')
		got.WriteString(line)
		if err != nil {
			t.Fatalf("%s: %v before %s: %s", path, err, text, &got)
		}
		if line == "\n" && strings.Contains(got.String(), text) {
			return got.String()
		}
	}
}
