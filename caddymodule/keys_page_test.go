package caddymodule

import (
	"net/url"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// form sends a form of the dashboard with a key.
func (g *gateway) form(t *testing.T, key, path string, pairs ...string) answer {
	t.Helper()
	values := url.Values{}
	for i := 0; i+1 < len(pairs); i += 2 {
		values.Add(pairs[i], pairs[i+1])
	}
	return g.ask(t, "POST", "/dashboard"+path, values.Encode(), "Authorization", "Bearer "+key, "Content-Type", "application/x-www-form-urlencoded", "Sec-Fetch-Site", "same-origin")
}

var shownSecret = regexp.MustCompile(`<code id="secret">(tg-[A-Za-z0-9_-]{43})</code>`)

// TestKeysPage checks that the dashboard follows the rules of the API: a key is made by an
// administrator, has no more rights than its own, and every change is audited.
func TestKeysPage(t *testing.T) {
	_, sim := newSim(t)
	g := newGateway(t, sim)
	teamKeys(t, &g.app)
	g.runAll(t)
	a := g.form(t, "admin-secret", "/keys", "name", "ops-<b>", "tenant", "team-b", "scope", "admin", "models", "m")
	secret := shownSecret.FindStringSubmatch(a.body)
	if a.status != 200 || secret == nil || strings.Contains(a.body, "ops-<b>") {
		t.Fatalf("made: %d %s", a.status, a.body)
	}
	limited := secret[1]
	list := g.ask(t, "GET", "/dashboard/keys", "", "Authorization", "Bearer "+limited)
	id := regexp.MustCompile(`key_[0-9a-f]{32}`).FindString(list.body)
	if list.status != 200 || id == "" || strings.Contains(list.body, limited) || !strings.Contains(list.body, "static/operate") || strings.Contains(list.body, "/keys/static") {
		t.Fatalf("list by the new key: %d %s", list.status, list.body)
	}
	for name, tt := range map[string]struct {
		key, path string
		pairs     []string
		want      int
	}{
		"more models":            {limited, "/keys", []string{"name", "x", "tenant", "team-b", "scope", "live"}, 403},
		"another key's secret":   {limited, "/keys/key_none/rotate", []string{"overlap", "0s"}, 404},
		"the same rights":        {limited, "/keys", []string{"name", "x", "tenant", "team-b", "scope", "live", "models", "m"}, 200},
		"an invalid tenant":      {"admin-secret", "/keys", []string{"name", "x", "tenant", "a/b", "scope", "live"}, 400},
		"an invalid id":          {"admin-secret", "/keys", []string{"name", "x", "tenant", "t", "scope", "live", "once", "../x"}, 400},
		"a key of the config":    {"admin-secret", "/keys/static%2Foperate/revoke", nil, 404},
		"a key without scope":    {"operate-secret", "/keys/" + id + "/revoke", nil, 403},
		"a key of another scope": {"batch-secret", "/keys", []string{"name", "x", "tenant", "team-a", "scope", "read"}, 403},
	} {
		if a := g.form(t, tt.key, tt.path, tt.pairs...); a.status != tt.want {
			t.Errorf("%s: got %d, want %d: %.300s", name, a.status, tt.want, a.body)
		}
	}
	if a := g.ask(t, "POST", "/dashboard/keys", "name=x&tenant=t&scope=admin", append(bearer("admin"), "Content-Type", "application/x-www-form-urlencoded", "Sec-Fetch-Site", "cross-site")...); a.status != 403 {
		t.Errorf("from another site: got %d, want 403", a.status)
	}
	if a := g.form(t, limited, "/keys/"+id+"/rotate", "overlap", "0s"); a.status != 200 || shownSecret.FindStringSubmatch(a.body) == nil {
		t.Errorf("rotated: %d", a.status)
	}
	if a := g.ask(t, "GET", "/dashboard/keys", "", "Authorization", "Bearer "+limited); a.status != 401 {
		t.Errorf("the previous secret: got %d, want 401", a.status)
	}
	if a := g.form(t, "admin-secret", "/keys/"+id+"/revoke"); a.status != 200 || !strings.Contains(a.body, "The key was revoked") { // the list that it redirects to
		t.Errorf("revoked: %d", a.status)
	}
	got := slices.DeleteFunc(summary(g.auditOf(t, "")), func(s string) bool { return !strings.HasPrefix(s, "key.") || strings.Contains(s, "name x") })
	for i, want := range []string{"key.create | done | " + id + " | team-b | admin | dashboard", "key.rotate | done | " + id + " | team-b | ops-<b> | dashboard", "key.revoke | done | " + id + " | team-b | admin | dashboard"} {
		if i >= len(got) || !strings.HasPrefix(got[i], want) {
			t.Errorf("audit log: got %q, want %q at %d", got, want, i)
		}
	}
}

// TestFirstKeyOnThePage checks that the first key is an administrator's, and that the last
// one remains, if clients need no key.
func TestFirstKeyOnThePage(t *testing.T) {
	_, sim := newSim(t)
	g := newGateway(t, sim)
	g.runAll(t)
	if a := g.ask(t, "GET", "/dashboard/keys/new", ""); a.status != 200 || !strings.Contains(a.body, "This is the first key") {
		t.Errorf("form: %d %s", a.status, a.body)
	}
	if a := g.form(t, "", "/keys", "name", "x", "tenant", "default", "scope", "live"); a.status != 409 || !strings.Contains(a.body, "The first key needs the scope admin") {
		t.Errorf("first key without admin: got %d, want 409", a.status)
	}
	a := g.form(t, "", "/keys", "name", "ops", "tenant", "default", "scope", "admin")
	secret := shownSecret.FindStringSubmatch(a.body)
	if a.status != 200 || secret == nil {
		t.Fatalf("first key: %d %s", a.status, a.body)
	}
	if a := g.ask(t, "GET", "/dashboard/keys", ""); a.status != 401 {
		t.Errorf("without a key: got %d, want 401", a.status)
	}
	list := g.ask(t, "GET", "/dashboard/keys", "", "Authorization", "Bearer "+secret[1])
	id := regexp.MustCompile(`key_[0-9a-f]{32}`).FindString(list.body)
	if a := g.form(t, secret[1], "/keys/"+id+"/revoke"); a.status != 409 || !strings.Contains(a.body, "No other key") {
		t.Errorf("last key: got %d %s, want 409", a.status, a.body)
	}
}
