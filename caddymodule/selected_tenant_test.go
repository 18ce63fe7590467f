package caddymodule

import (
	"html"
	"regexp"
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

// TestBatchesOfAllTenants checks that administrators alone list the batches of all tenants,
// each with its tenant, in pages and with filters. It finds another tenant's
// batch in the list or the event stream of a key that is no administrator's, a page that
// names no tenant, and actions on the batches of several tenants.
func TestBatchesOfAllTenants(t *testing.T) {
	_, url := newSim(t)
	g := newGateway(t, url)
	teamKeys(t, &g.app)
	g.runAll(t)
	_, own := g.create(t, "batch")
	_, theirs := g.create(t, "other")
	for _, tt := range []struct {
		key, query  string
		own, theirs bool
	}{
		{"admin", "", true, false},
		{"admin", "?whose=all", true, true},
		{"admin", "?whose=all&order=oldest", true, true},
		{"admin", "?whose=all&q=" + theirs, false, true},
		{"admin", "?whose=all&model=none-such", false, false},
		{"admin", "?whose=every", true, false},
		{"read", "?whose=all", true, false},
		{"operate", "?whose=all&q=" + theirs, false, false},
		{"other", "?whose=all", false, true},
	} {
		page := g.ask(t, "GET", "/dashboard/batches"+tt.query, "", bearer(tt.key)...)
		listed := func(id string) bool { return strings.Contains(page.body, `title="`+id+`"`) }
		if page.status != 200 || listed(own) != tt.own || listed(theirs) != tt.theirs {
			t.Errorf("%q by %s: got %d with the own batch: %t, the other: %t; want %t, %t", tt.query, tt.key, page.status, listed(own), listed(theirs), tt.own, tt.theirs)
		}
		all := tt.key == "admin" && strings.Contains(tt.query, "whose=all")
		if has := strings.Contains(page.body, `data-label="Tenant"`); has != (all && (tt.own || tt.theirs)) {
			t.Errorf("%q by %s names tenants: %t", tt.query, tt.key, has)
		}
		if tt.key != "admin" && strings.Contains(page.body, "f-whose") {
			t.Errorf("%q by %s offers all tenants", tt.query, tt.key)
		}
		if all && (strings.Contains(page.body, `name="batch"`) || strings.Contains(page.body, "sse-connect")) {
			t.Errorf("%q by %s has actions or a stream of several tenants", tt.query, tt.key)
		}
	}
	page := g.ask(t, "GET", "/dashboard/batches?whose=all", "", bearer("admin")...).body
	for _, want := range []string{`name="tenant" value="team-b"`, `name="back" value="/batches/` + theirs + `"`, `href="/dashboard/batches/` + own + `"`, `secret-name.jsonl`} {
		if !strings.Contains(page, want) {
			t.Errorf("the list of all tenants has no %s", want)
		}
	}
	if strings.Contains(page, `href="/dashboard/batches/`+theirs+`"`) {
		t.Error("the list links to a batch that the pages of this tenant do not have")
	}
	if strings.Count(page, "secret-name.jsonl</") != 2 {
		t.Errorf("got the names of %d input files, want those of both tenants", strings.Count(page, "secret-name.jsonl</"))
	}
	made := map[string]bool{own: true, theirs: true}
	for i := range 60 {
		key := []string{"batch", "other"}[i%2]
		_, id := g.create(t, key)
		made[id] = true
	}
	ids := regexp.MustCompile(`<code class="model" title="(batch_[0-9a-f]+)"`)
	next := regexp.MustCompile(`href="(/dashboard/batches\?[^"]*after=[^"]*)"`)
	for _, query := range []string{"?whose=all", "?whose=all&order=oldest", "?whose=all&order=state", "?whose=all&q=secret-name"} {
		seen := make(map[string]bool)
		pages := 0
		for path := "/dashboard/batches" + query; path != ""; pages++ {
			page := g.ask(t, "GET", path, "", bearer("admin")...).body
			for _, m := range ids.FindAllStringSubmatch(page, -1) {
				if seen[m[1]] {
					t.Errorf("%s: %s is on two pages", query, m[1])
				}
				seen[m[1]] = true
			}
			path = ""
			if m := next.FindStringSubmatch(page); m != nil && pages < 5 {
				path = html.UnescapeString(m[1])
			}
		}
		if len(seen) != len(made) || pages < 2 {
			t.Errorf("%s: got %d batches on %d pages, want %d", query, len(seen), pages, len(made))
		}
	}
}
