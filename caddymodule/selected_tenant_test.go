package caddymodule

import (
	"strings"
	"testing"
)

// TestSelectedTenant checks that administrators see the pages of the tenant that they have
// selected, and that the cookie is without effect for others.
func TestSelectedTenant(t *testing.T) {
	_, url := newSim(t)
	g := newGateway(t, url)
	teamKeys(t, &g.app)
	g.runAll(t)
	_, own := g.create(t, "batch")
	theirFile, theirs := g.create(t, "other")
	until(t, "the batch has completed", func() bool {
		return strings.Contains(g.ask(t, "GET", "/v1/batches/"+theirs, "", bearer("other")...).body, `"completed_at":1`)
	})
	const cookie = "tidegate_tenant=team-b"
	for _, tt := range []struct {
		key, cookie string
		own, theirs bool
	}{{"admin", "", true, false}, {"admin", cookie, false, true}, {"admin", "tidegate_tenant=../x", true, false}, {"operate", cookie, true, false}, {"read", cookie, true, false}, {"other", "tidegate_tenant=team-a", false, true}} {
		header := append(bearer(tt.key), "Cookie", tt.cookie)
		list := g.ask(t, "GET", "/dashboard/batches", "", header...).body
		if strings.Contains(list, own) != tt.own || strings.Contains(list, theirs) != tt.theirs {
			t.Errorf("the list of %s with the cookie %q has the own batch: %t, the other: %t; want %t, %t", tt.key, tt.cookie, strings.Contains(list, own), strings.Contains(list, theirs), tt.own, tt.theirs)
		}
		want := 404
		if tt.theirs {
			want = 200
		}
		for _, path := range []string{"/dashboard/batches/" + theirs, "/dashboard/batches/" + theirs + "/lines/1", "/dashboard/files/" + theirFile + "/content"} {
			if a := g.ask(t, "GET", path, "", header...); a.status != want {
				t.Errorf("%s by %s with the cookie %q: got %d, want %d", path, tt.key, tt.cookie, a.status, want)
			}
		}
	}
	admin := append(bearer("admin"), "Cookie", cookie)
	if page := g.ask(t, "GET", "/dashboard/batches", "", admin...).body; !strings.Contains(page, "tenant <b>team-b</b>") || !strings.Contains(page, `<option value="team-a">`) || strings.Contains(page, `href="/dashboard/new"`) {
		t.Errorf("the page does not name its tenant, offers no other, or offers to make a batch:\n%s", page)
	}
	if a := g.ask(t, "POST", "/dashboard/new", "file="+theirFile, append(admin, "Content-Type", "application/x-www-form-urlencoded")...); a.status != 403 {
		t.Errorf("a new batch in another tenant: got %d, want 403", a.status)
	}
	if a := g.ask(t, "GET", "/dashboard/events/batches?tenant=team-b", "", bearer("admin")...); !strings.Contains(a.body, "Another tenant was selected") {
		t.Errorf("the stream of a page of another tenant: %d %.300s", a.status, a.body)
	}
	if a := g.ask(t, "POST", "/dashboard/batches/"+theirs+"/delete", "", append(admin, "Content-Type", "application/x-www-form-urlencoded")...); a.status != 200 && a.status != 303 {
		t.Errorf("deleted by the administrator: %d", a.status)
	}
	if a := g.ask(t, "GET", "/v1/batches/"+theirs, "", bearer("other")...); a.status != 404 {
		t.Errorf("the deleted batch: got %d, want 404", a.status)
	}
}
