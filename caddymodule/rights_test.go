package caddymodule

import (
	"bytes"
	"encoding/json"
	"fmt"
	"mime/multipart"
	"net/http"
	"regexp"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"

	"github.com/tidegate/tidegate/access"
	"github.com/tidegate/tidegate/batch/httpapi"
	"github.com/tidegate/tidegate/dashboard"
	"github.com/tidegate/tidegate/upstreams"
)

// ownRoutes are the routes of tidegate_api that belong to no other table, with their
// scopes. An empty scope is for routes that check no scope, or no key at all.
var ownRoutes = map[string]struct {
	method string
	scope  access.Scope
}{
	"/health":            {},
	"/ready":             {},
	"/metrics":           {"GET", access.Operate},
	"/doctor":            {"GET", access.Operate},
	"/contents/adopt":    {"POST", access.Admin},
	"/webhooks":          {"GET", access.Admin},
	"/webhooks/test":     {"POST", access.Admin},
	"/limits":            {"GET", access.Read},
	"/v1/audit":          {"GET", access.Admin},
	"/upstreams":         {"GET", access.Read},
	"/upstreams/drain":   {"POST", access.Operate},
	"/upstreams/undrain": {"POST", access.Operate},
}

// docs/api.md names the scope of each route of tidegate_api. It finds a row with another
// scope than the code's, and a route without a row.
func TestDocumentedScopes(t *testing.T) {
	documented := make(map[string]string)
	for line := range strings.Lines(read(t, "../docs/api.md")) {
		cells := strings.Split(line, "|")
		if len(cells) < 4 {
			continue
		}
		scope := regexp.MustCompile("Requires the scope `([a-z]+)`").FindStringSubmatch(line)
		for _, m := range regexp.MustCompile("`(?:(?:GET|POST) )?(/[^ `]+)`").FindAllStringSubmatch(cells[1], -1) {
			if _, twice := documented[m[1]]; !twice && scope != nil {
				documented[m[1]] = scope[1]
			}
		}
	}
	for path, row := range ownRoutes {
		if path != "/v1/audit" && documented[path] != string(row.scope) {
			t.Errorf("docs/api.md: %s requires the scope %q, want %q", path, documented[path], row.scope)
		}
	}
	// The audit log has a section of its own.
	if !strings.Contains(read(t, "../docs/api.md"), "all tenants, the newest entry first. It needs the scope `"+string(ownRoutes["/v1/audit"].scope)+"`.") {
		t.Error("docs/api.md: no sentence with the scope of GET /v1/audit")
	}
}

// guarded is a route of the whole gateway.
type guarded struct {
	method, path string
	scope        access.Scope
}

// allRoutes returns the routes of every handler, from their tables.
func allRoutes(t *testing.T) (all []guarded) {
	t.Helper()
	_, source, _ := strings.Cut(read(t, "handlers.go"), "func (h *APIHandler) ServeHTTP")
	source, _, _ = strings.Cut(source, "\n}\n")
	for _, m := range regexp.MustCompile(`path == "(/[^"]+)"`).FindAllStringSubmatch(source, -1) {
		row, known := ownRoutes[m[1]]
		if !known {
			t.Errorf("the route %s of tidegate_api has no row in ownRoutes", m[1])
		}
		if row.scope != "" {
			all = append(all, guarded{row.method, m[1], row.scope})
		}
	}
	for _, rt := range httpapi.Routes() {
		all = append(all, guarded{rt.Method, rt.Path, rt.Scope})
	}
	for _, path := range upstreams.LivePaths() {
		all = append(all, guarded{"POST", path, access.Live})
	}
	for _, rt := range dashboard.Routes() {
		all = append(all, guarded{rt.Method, defaultDashboard + rt.Path, rt.Scope})
	}
	for _, rt := range []guarded{{"GET", "/v1/keys", ""}, {"POST", "/v1/keys", ""}, {"GET", "/v1/keys/key_x", ""}, {"POST", "/v1/keys/key_x/revoke", ""}, {"POST", "/v1/keys/key_x/rotate", ""}, {"POST", "/v1/keys/key_x/limits", ""}} {
		all = append(all, guarded{rt.method, rt.path, access.Admin})
	}
	if len(all) < 90 {
		t.Fatalf("got %d routes, want at least 90", len(all))
	}
	return all
}

// concrete returns a path without patterns, about a batch, a file and an upload.
func concrete(path, batch, file, upload string) string {
	id := batch
	switch {
	case strings.Contains(path, "/files/"):
		id = file
	case strings.Contains(path, "/uploads/"):
		id = upload
	}
	path = strings.NewReplacer("/{$}", "/", "{id}", id, "{number}", "1", "{kind}", "output", "{key}", "none", "*", id, "#", "1").Replace(path)
	return path
}

// teamKeys configures a key of every scope for the tenant team-a, and keys of others.
func teamKeys(t *testing.T, a *App) {
	t.Helper()
	add := func(name, tenant, expires string, models []string, scopes ...string) {
		t.Setenv("KEY_"+strings.ToUpper(name), name+"-secret")
		a.Keys = append(a.Keys, KeyConfig{Name: name, Secret: "{env.KEY_" + strings.ToUpper(name) + "}", Tenant: tenant, Scopes: scopes, Models: models, Expires: expires})
	}
	for _, s := range access.Scopes {
		add(string(s), "team-a", "", nil, string(s))
	}
	add("expired", "team-a", "2020-01-01", nil, "admin")
	add("other", "team-b", "", nil, "live", "batch", "operate")
	add("colleague", "team-a", "", nil, "batch")
	add("limited", "team-a", "", []string{"none-such"}, "live", "batch")
}

func bearer(name string) []string { return []string{"Authorization", "Bearer " + name + "-secret"} }

// runAll is run with the dashboard and without Caddy's own handler of metrics.
func (g *gateway) runAll(t *testing.T) {
	t.Helper()
	g.run(t)
	g.loadAll(t)
}

// loadAll is load with the same handlers as runAll.
func (g *gateway) loadAll(t *testing.T) {
	t.Helper()
	text := strings.NewReplacer(
		`{"match":[{"path":["/metrics"]}],"handle":[{"handler":"metrics"}]},`, "",
		`{"handler":"tidegate_api"}`, `{"handler":"tidegate_api"},{"handler":"tidegate_dashboard"}`,
	).Replace(string(g.config(t, nil)))
	if err := caddy.Load([]byte(text), true); err != nil {
		t.Fatal(err)
	}
}

// TestRights is the matrix of all routes and kinds of keys.
func TestRights(t *testing.T) {
	_, url := newSim(t)
	g := newGateway(t, url)
	teamKeys(t, &g.app)
	g.runAll(t)
	const batch, file, upload = "batch_00000000000000000000000000000000", "file-00000000000000000000000000000000", "upload_00000000000000000000000000000000"
	for _, rt := range allRoutes(t) {
		path := concrete(rt.path, batch, file, upload)
		method := rt.method
		if strings.Contains(path, "/events/") {
			method = http.MethodHead // a stream does not end
		}
		for name, want := range map[string]int{"none": 401, "wrong": 401, "expired": 401} {
			header := bearer(name)
			if name == "none" {
				header = nil
			}
			if a := g.ask(t, method, path, "", header...); a.status != want {
				t.Errorf("%s %s with %s key: got %d, want %d", rt.method, path, name, a.status, want)
			}
		}
		for _, own := range access.Scopes {
			a := g.ask(t, method, path, "", bearer(string(own))...)
			may := access.Identity{Scopes: []access.Scope{own}}.May(rt.scope)
			refused := a.status == 403 || a.status == 401
			if refused == may {
				t.Errorf("%s %s with the scope %s: got %d %.200s, want it allowed: %t", rt.method, path, own, a.status, a.body, may)
			}
		}
	}
}

// create makes a file and a batch with a key, and returns their ids.
func (g *gateway) create(t *testing.T, key string) (file, batch string) {
	t.Helper()
	return g.createOf(t, key, `{"custom_id":"canary-1","method":"POST","url":"/v1/chat/completions","body":{"model":"`+model+`","messages":[{"role":"user","content":"canary"}]}}`)
}

func (g *gateway) createOf(t *testing.T, key, lines string) (file, batch string) {
	t.Helper()
	return g.createWith(t, key+"-secret", lines)
}

// createWith makes a batch with a secret.
func (g *gateway) createWith(t *testing.T, secret, lines string) (file, batch string) {
	t.Helper()
	bearer := []string{"Authorization", "Bearer " + secret}
	var body bytes.Buffer
	form := multipart.NewWriter(&body)
	_ = form.WriteField("purpose", "batch")
	part, err := form.CreateFormFile("file", "secret-name.jsonl")
	if err != nil {
		t.Fatal(err)
	}
	fmt.Fprintln(part, lines)
	if err := form.Close(); err != nil {
		t.Fatal(err)
	}
	var made struct{ ID string }
	a := g.ask(t, "POST", "/v1/files", body.String(), append(bearer, "Content-Type", form.FormDataContentType())...)
	if err := json.Unmarshal([]byte(a.body), &made); err != nil || a.status != 200 {
		t.Fatalf("upload: %d %s", a.status, a.body)
	}
	file = made.ID
	a = g.ask(t, "POST", "/v1/batches", `{"input_file_id":"`+file+`","endpoint":"/v1/chat/completions","completion_window":"24h"}`, append(bearer, "Content-Type", "application/json")...)
	if err := json.Unmarshal([]byte(a.body), &made); err != nil || a.status != 200 {
		t.Fatalf("batch: %d %s", a.status, a.body)
	}
	return file, made.ID
}

// TestTenants checks that objects of a tenant do not exist for another one: on every
// route, in lists and on pages.
func TestTenants(t *testing.T) {
	_, url := newSim(t)
	g := newGateway(t, url)
	teamKeys(t, &g.app)
	g.runAll(t)
	file, made := g.create(t, "batch")
	ended := func() string {
		return g.ask(t, "GET", "/v1/batches/"+made, "", bearer("read")...).body
	}
	until(t, "the batch has completed", func() bool { return strings.Contains(ended(), `"completed_at":1`) })
	for _, rt := range allRoutes(t) {
		path := concrete(rt.path, made, file, "upload_00000000000000000000000000000000")
		if strings.Contains(path, "/events/") {
			continue // see the pages that they update
		}
		a := g.ask(t, rt.method, path, "", bearer("other")...)
		for _, canary := range []string{"canary", "secret-name", `"` + made, `"` + file} {
			if strings.Contains(a.body, canary) && !strings.Contains(a.body, "No batch found") && !strings.Contains(a.body, "No such File") {
				t.Errorf("%s %s by another tenant has %q: %d %.300s", rt.method, path, canary, a.status, a.body)
			}
		}
		if path != strings.NewReplacer("*", "x", "{id}", "x").Replace(rt.path) && strings.ContainsAny(rt.path, "*{") && rt.scope != access.Admin && a.status < 400 &&
			(strings.Contains(path, made) || strings.Contains(path, file)) {
			t.Errorf("%s %s by another tenant: got %d, want a refusal", rt.method, path, a.status)
		}
	}
	if text := ended(); !strings.Contains(text, `"status":"completed"`) {
		t.Errorf("another tenant changed the batch: %s", text)
	}
	if a := g.ask(t, "GET", "/v1/files/"+file, "", bearer("read")...); a.status != 200 {
		t.Errorf("another tenant changed the file: %d %s", a.status, a.body)
	}
	for _, path := range []string{"/dashboard/batches", "/dashboard/batches/" + made, "/v1/batches", "/v1/files"} {
		if a := g.ask(t, "GET", path, "", bearer("read")...); a.status != 200 || !strings.Contains(a.body, made) && !strings.Contains(a.body, file) {
			t.Errorf("%s by its own tenant: %d, want the batch or the file", path, a.status)
		}
	}
}

// TestUsageByTenant checks that an administrator gets the usage of all tenants on the
// dashboard and as CSV, and other keys get nothing of another tenant. It finds a view that the
// dashboard does not have, and one that it shows to every key.
func TestUsageByTenant(t *testing.T) {
	_, url := newSim(t)
	g := newGateway(t, url)
	teamKeys(t, &g.app)
	g.runAll(t)
	for _, key := range []string{"live", "other"} {
		if a := g.ask(t, "POST", "/v1/chat/completions", chat, append(bearer(key), "Content-Type", "application/json")...); a.status != 200 {
			t.Fatalf("%s: got %d %s", key, a.status, a.body)
		}
	}
	const page, csv = "/dashboard/usage?by=tenant", "/dashboard/usage.csv?by=tenant"
	until(t, "the usage of both tenants is written", func() bool {
		text := g.ask(t, "GET", csv, "", bearer("admin")...).body
		return strings.Contains(text, "\nteam-a,1,") && strings.Contains(text, "\nteam-b,1,")
	})
	if text := g.ask(t, "GET", page, "", bearer("admin")...).body; !strings.Contains(text, "team-b") || !strings.Contains(text, "By tenant") || !strings.Contains(text, "All tenants.") {
		t.Errorf("page of an administrator: got %s", text)
	}
	for key, foreign := range map[string]string{"read": "team-b", "operate": "team-b", "other": "team-a"} {
		for _, path := range []string{page, csv} {
			if a := g.ask(t, "GET", path, "", bearer(key)...); a.status != 200 || strings.Contains(a.body, foreign) || strings.Contains(a.body, "y tenant") || strings.HasPrefix(a.body, "tenant,") {
				t.Errorf("%s by %s: got %d %s, want nothing of %s", path, key, a.status, a.body, foreign)
			}
		}
	}
}

// TestControlOfOthersBatches checks that a batch is controlled by the key that made it or
// by an operator.
func TestControlOfOthersBatches(t *testing.T) {
	_, url := newSim(t)
	g := newGateway(t, url)
	teamKeys(t, &g.app)
	g.runAll(t)
	_, made := g.create(t, "batch")
	for key, want := range map[string]int{"read": 403, "colleague": 403, "live": 403, "other": 404} {
		for _, action := range []string{"pause", "resume", "priority"} {
			if a := g.ask(t, "POST", "/v1/batches/"+made+"/"+action, `{"priority":1}`, append(bearer(key), "Content-Type", "application/json")...); a.status != want {
				t.Errorf("%s by %s: got %d %s, want %d", action, key, a.status, a.body, want)
			}
			if a := g.ask(t, "POST", "/dashboard/batches/"+made+"/"+action, "priority=1", append(bearer(key), "Content-Type", "application/x-www-form-urlencoded")...); a.status != want {
				t.Errorf("%s by %s in the dashboard: got %d, want %d", action, key, a.status, want)
			}
		}
	}
	for _, key := range []string{"batch", "operate", "admin"} { // 409: it has ended meanwhile
		if a := g.ask(t, "POST", "/v1/batches/"+made+"/pause", "", bearer(key)...); a.status != 200 && a.status != 409 {
			t.Errorf("pause by %s: got %d %s, want it allowed", key, a.status, a.body)
		}
	}
}

// TestModelsOfKeys checks that a key is limited to its models, also if a body names two.
func TestModelsOfKeys(t *testing.T) {
	sim, url := newSim(t)
	g := newGateway(t, url)
	teamKeys(t, &g.app)
	g.runAll(t)
	before := sim.Stats().Calls
	for _, body := range []string{
		chat,
		`{"model":"none-such","stream":false,"model":"` + model + `","messages":[]}`,
		`{"model":"none-such","stream":false,"\u006dodel":"` + model + `","messages":[]}`,
	} {
		if a := g.ask(t, "POST", "/v1/chat/completions", body, append(bearer("limited"), "Content-Type", "application/json")...); a.status != 403 && a.status != 400 {
			t.Errorf("%s: got %d %s, want a refusal", body, a.status, a.body)
		}
	}
	if n := sim.Stats().Calls - before; n != 0 {
		t.Errorf("%d requests reached a server", n)
	}
	if a := g.ask(t, "GET", "/v1/models", "", bearer("limited")...); a.status != 200 || strings.Contains(a.body, model) {
		t.Errorf("list of models: %d %s, want none", a.status, a.body)
	}
	if a := g.ask(t, "GET", "/v1/models/"+model, "", bearer("limited")...); a.status != 404 {
		t.Errorf("model: got %d, want 404", a.status)
	}
	_, made := g.create(t, "limited")
	until(t, "the batch has failed", func() bool {
		text := g.ask(t, "GET", "/v1/batches/"+made, "", bearer("read")...).body
		return strings.Contains(text, `"status":"failed"`) && strings.Contains(text, "model_not_found") && strings.Contains(text, "does not have access")
	})
}
