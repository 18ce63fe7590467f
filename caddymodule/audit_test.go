package caddymodule

import (
	"encoding/csv"
	"encoding/json"
	"net/http"
	"slices"
	"strings"
	"testing"
)

// auditOf returns the entries of the audit log, the oldest first.
func (g *gateway) auditOf(t *testing.T, query string) (all []auditEntry) {
	t.Helper()
	a := g.ask(t, "GET", "/v1/audit"+query, "", bearer("admin")...)
	var list auditList
	if err := json.Unmarshal([]byte(a.body), &list); err != nil || a.status != 200 {
		t.Fatalf("%d %v: %s", a.status, err, a.body)
	}
	slices.Reverse(list.Data)
	return list.Data
}

func summary(all []auditEntry) (out []string) {
	for _, e := range all {
		key := "-"
		if e.KeyName != nil {
			key = *e.KeyName
		}
		out = append(out, strings.Join([]string{e.Action, e.Outcome, e.Target, e.Tenant, key, e.Via, e.Detail}, " | "))
	}
	return out
}

// TestAudit checks who did what on every way, and that no secret is in the log.
func TestAudit(t *testing.T) {
	_, url := newSim(t)
	g := newGateway(t, url)
	teamKeys(t, &g.app)
	g.runAll(t)
	do := func(method, path, body string, want int, header ...string) answer {
		t.Helper()
		a := g.ask(t, method, path, body, header...)
		if a.status != want {
			t.Fatalf("%s %s: got %d %s, want %d", method, path, a.status, a.body, want)
		}
		return a
	}
	as := func(name string, more ...string) []string { return append(bearer(name), more...) }
	do("POST", "/upstreams/drain", `{"url":"`+url+`"}`, 200, as("operate", "Content-Type", "application/json")...)
	file, batch := g.create(t, "batch") // waits for a server until it is cancelled
	do("POST", "/v1/batches/"+batch+"/cancel", "", 200, as("batch", "X-Request-Id", "my-request")...)
	do("DELETE", "/v1/batches/"+batch, "", 200, as("batch")...)
	do("DELETE", "/v1/files/"+file, "", 200, as("batch", "User-Agent", "tidegate")...)
	do("DELETE", "/v1/files/"+file, "", 404, as("batch")...)
	_, made := g.keys(t, "admin-secret", "", `{"name":"=nightly","scopes":["read"]}`)
	g.keys(t, "admin-secret", "/"+made.ID+"/rotate", `{}`)
	g.keys(t, "admin-secret", "/"+made.ID+"/limits", `{"requests_per_minute":60}`)
	g.keys(t, "admin-secret", "/"+made.ID+"/revoke", "")
	if status, _ := admin(t, "POST", "/tidegate/upstreams/undrain?url="+url, ""); status != 200 {
		t.Fatalf("admin endpoint: %d", status)
	}
	for range 3 {
		do("GET", "/v1/keys", "", 401, "Authorization", "Bearer wrong-secret")
		do("POST", "/v1/keys/secret-in-path/revoke", "", 403, as("batch")...)
		do("GET", "/dashboard/", "", 200, "Authorization", basic("any", "read-secret"))
		do("GET", "/dashboard/", "", 401, "Authorization", basic("any", "wrong-secret"))
		do("GET", "/dashboard/", "", 401)
		do("GET", "/dashboard/audit", "", 403, "Authorization", basic("any", "read-secret"))
	}
	all := g.auditOf(t, "")
	want := []string{
		"server.drain | done | " + url + " |  | operate | api | ",
		"batch.cancel | done | " + batch + " | team-a | batch | api | ",
		"batch.delete | done | " + batch + " | team-a | batch | api | ",
		"file.delete | done | " + file + " | team-a | batch | cli | ",
		"key.create | done | " + made.ID + " | team-a | admin | api | name =nightly, scopes read",
		"key.rotate | done | " + made.ID + " | team-a | admin | api | name =nightly, the previous key is accepted for 0s",
		"key.limits | done | " + made.ID + " | team-a | admin | api | name =nightly, requests_per_minute 60 instead of none",
		"key.revoke | done | " + made.ID + " | team-a | admin | api | name =nightly",
		"server.undrain | done | " + url + " |  | - | admin | ",
		"admin.request | refused | /v1/keys |  | - | api | invalid_api_key",
		"admin.request | refused | /v1/keys |  | batch | api | missing_scope",
		"dashboard.login | done | /dashboard | team-a | read | dashboard | ",
		"dashboard.login | refused | /dashboard |  | - | dashboard | invalid_api_key",
		"admin.request | refused | /dashboard |  | read | dashboard | missing_scope",
	}
	if got := summary(all); !slices.Equal(got, want) {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	if all[1].RequestID != "my-request" || !strings.HasPrefix(all[2].RequestID, "req_") || all[2].Address != "127.0.0.1" {
		t.Errorf("got request %q, then %q from %q, want my-request, one of the gateway, and 127.0.0.1", all[1].RequestID, all[2].RequestID, all[2].Address)
	}
	for _, format := range []string{"json", "jsonl", "csv"} {
		text := do("GET", "/v1/audit?format="+format, "", 200, bearer("admin")...).body
		for _, secret := range []string{"-secret", made.Key, "secret-in-path"} {
			if strings.Contains(text, secret) {
				t.Errorf("%s has the secret %s: %s", format, secret, text)
			}
		}
	}
	rows, err := csv.NewReader(strings.NewReader(do("GET", "/v1/audit?format=csv", "", 200, bearer("admin")...).body)).ReadAll()
	if err != nil || len(rows) != len(want)+1 || !slices.Equal(rows[0], csvNames) {
		t.Errorf("csv: %v, %q", err, rows)
	}
}

// TestAuditPages checks the pages and the period of the log, and its refusals.
func TestAuditPages(t *testing.T) {
	_, url := newSim(t)
	g := newGateway(t, url)
	teamKeys(t, &g.app)
	g.runAll(t)
	for range 3 {
		g.keys(t, "admin-secret", "", `{"name":"k","scopes":["read"]}`)
	}
	all := g.auditOf(t, "")
	first := g.auditOf(t, "?limit=2")
	rest := g.auditOf(t, "?limit=2&after="+first[0].ID)
	if got := append(rest, first...); len(all) != 3 || !slices.Equal(summary(got), summary(all)) {
		t.Errorf("got pages %v and %v of %v", summary(first), summary(rest), summary(all))
	}
	for query, want := range map[string]int{"?since=2100-01-01": 0, "?until=2100-01-01": 3, "?since=2000-01-01T00:00:00Z": 3, "?until=1": 0} {
		if got := len(g.auditOf(t, query)); got != want {
			t.Errorf("%s: got %d entries, want %d", query, got, want)
		}
	}
	for _, query := range []string{"limit=0", "limit=1001", "limit=x", "after=x", "after=audit_0", "after=audit_999", "since=yesterday", "since=-1", "until=1e9", "format=xml"} {
		if a := g.ask(t, "GET", "/v1/audit?"+query, "", bearer("admin")...); a.status != 400 {
			t.Errorf("%s: got %d %s, want 400", query, a.status, a.body)
		}
	}
	if a := g.ask(t, http.MethodDelete, "/v1/audit", "", bearer("admin")...); a.status != 405 {
		t.Errorf("DELETE: got %d, want 405", a.status)
	}
}
