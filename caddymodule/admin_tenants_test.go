package caddymodule

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"
)

// owned is a list of objects with their owners.
type owned struct {
	Data    []struct{ ID, Tenant string }
	HasMore bool `json:"has_more"`
}

// TestAdministratorSeesTenants checks that administrators can list and open the objects of
// other tenants, and that others learn nothing by the parameter.
func TestAdministratorSeesTenants(t *testing.T) {
	_, url := newSim(t)
	g := newGateway(t, url)
	teamKeys(t, &g.app)
	g.runAll(t)
	ownFile, ownBatch := g.create(t, "batch")
	theirFile, theirBatch := g.create(t, "other")
	list := func(path string) (l owned) {
		t.Helper()
		a := g.ask(t, "GET", path, "", bearer("admin")...)
		if err := json.Unmarshal([]byte(a.body), &l); err != nil || a.status != 200 {
			t.Fatalf("%s: %d %v %s", path, a.status, err, a.body)
		}
		return l
	}
	for kind, ids := range map[string][2]string{"batches": {ownBatch, theirBatch}, "files": {ownFile, theirFile}} {
		for query, want := range map[string][2]string{"": {"", "absent"}, "?tenant=team-a": {"team-a", "absent"}, "?tenant=team-b": {"absent", "team-b"}, "?tenant=*": {"team-a", "team-b"}, "?tenant=none": {"absent", "absent"}} {
			l := list("/v1/" + kind + query)
			for i, id := range ids {
				at := slices.IndexFunc(l.Data, func(o struct{ ID, Tenant string }) bool { return o.ID == id })
				switch {
				case at < 0 && want[i] != "absent":
					t.Errorf("%s%s has no %s", kind, query, id)
				case at >= 0 && l.Data[at].Tenant != want[i]:
					t.Errorf("%s%s: the tenant of %s is %q, want %q", kind, query, id, l.Data[at].Tenant, want[i])
				}
			}
		}
		seen, after := make(map[string]int), ""
		for more := true; more; {
			l := list("/v1/" + kind + "?tenant=*&limit=1&after=" + after)
			for _, o := range l.Data {
				seen[o.ID]++
				after = o.ID
			}
			if more = l.HasMore; len(seen) > 20 {
				t.Fatal("the pages do not end")
			}
		}
		if seen[ids[0]] != 1 || seen[ids[1]] != 1 {
			t.Errorf("pages of %s have %v, want each once", kind, seen)
		}
	}
	as := func(key string) []string { return append(bearer(key), "Content-Type", "application/json") }
	for _, tt := range []struct {
		key, method, path string
		want              int
	}{
		{"admin", "GET", "/v1/batches/" + theirBatch, 404},
		{"admin", "GET", "/v1/batches/" + theirBatch + "?tenant=team-b", 200},
		{"admin", "GET", "/v1/batches/" + theirBatch + "?tenant=team-a", 404},
		{"admin", "GET", "/v1/batches/" + theirBatch + "?tenant=*", 400},
		{"admin", "GET", "/v1/files/" + theirFile + "/content?tenant=team-b", 200},
		{"admin", "GET", "/v1/batches?tenant=a/b", 400},
		{"admin", "GET", "/v1/batches?tenant=team-a&tenant=team-b", 400},
		{"admin", "GET", "/v1/batches?tenant=", 400},
		{"read", "GET", "/v1/batches?tenant=team-b", 403},
		{"read", "GET", "/v1/batches?tenant=none", 403},
		{"read", "GET", "/v1/files?tenant=*", 403},
		{"read", "GET", "/v1/batches?tenant=team-a", 200},
		{"operate", "POST", "/v1/batches/" + theirBatch + "/pause?tenant=team-b", 403},
		{"batch", "GET", "/v1/files/" + theirFile + "?tenant=team-b", 403},
		{"batch", "DELETE", "/v1/files/" + theirFile + "?tenant=team-b", 403},
		{"other", "GET", "/v1/files/" + theirFile + "?tenant=team-b", 200},
		{"admin", "DELETE", "/v1/files/" + theirFile + "?tenant=team-b", 200},
		{"other", "GET", "/v1/files/" + theirFile, 404},
	} {
		if a := g.ask(t, tt.method, tt.path, "", as(tt.key)...); a.status != tt.want {
			t.Errorf("%s %s by %s: got %d %s, want %d", tt.method, tt.path, tt.key, a.status, a.body, tt.want)
		}
	}
	entries := summary(g.auditOf(t, ""))
	if !slices.ContainsFunc(entries, func(s string) bool {
		return strings.HasPrefix(s, "file.delete | done | "+theirFile+" | team-b | admin | api")
	}) {
		t.Errorf("audit log: %q, want the deletion by the administrator", entries)
	}
}
