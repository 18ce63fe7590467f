package dashboard_test

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"golang.org/x/net/html"

	"github.com/tidegate/tidegate/access"
	"github.com/tidegate/tidegate/dashboard"
)

// as makes a dashboard whose clients have a key with scopes, or the scope in a
// header.
func as(scopes ...access.Scope) func(*dashboard.Config) {
	return func(cfg *dashboard.Config) {
		cfg.Identity = func(r *http.Request) access.Identity {
			if named := r.Header.Get("Test-Scope"); named != "" {
				return access.Identity{KeyID: "other", Tenant: "default", Scopes: []access.Scope{access.Scope(named)}}
			}
			return access.Identity{KeyID: "own", Tenant: "default", Scopes: scopes}
		}
	}
}

// TestNoOfferIsRefused checks that pages link only to pages that their reader may open, and have only
// forms that the reader may send.
func TestNoOfferIsRefused(t *testing.T) {
	for _, own := range []access.Scope{access.Read, access.Batch, access.Operate, access.Admin} {
		t.Run(string(own), func(t *testing.T) {
			h := build(t, nil, as(own))
			ids, key := h.IDs(), h.upstreamKey()
			seen := make(map[string]bool)
			forms := 0
			for _, path := range []string{"/", "/wall", "/batches", "/batches/" + ids[1], "/batches/" + ids[5], "/batches/" + ids[9], "/batches/" + ids[9] + "/lines", "/files", "/upstreams", "/upstreams/" + key} {
				walk(parse(t, h.page(path)), func(n *html.Node) {
					href, _ := attribute(n, "href")
					action, _ := attribute(n, "action")
					to := strings.TrimPrefix(href+action, "/dashboard")
					if strings.Contains(to, "/assets/") || seen[n.Data+to] || !strings.HasPrefix(to, "/") {
						return
					}
					seen[n.Data+to] = true
					var w *httptest.ResponseRecorder
					switch method, _ := attribute(n, "method"); {
					case n.Data == "a":
						w = h.get(to)
					case n.Data == "form" && method == "post":
						forms++
						w = h.post(to, "priority", "1")
					default:
						return
					}
					if w.Code == http.StatusForbidden {
						t.Errorf("%s offers %s %s, which is refused", path, n.Data, to)
					}
				})
			}
			if len(seen) < 20 || forms < 2 {
				t.Errorf("followed %d links and %d forms, want more", len(seen), forms)
			}
		})
	}
}

// TestOffersByScope names what is hidden, and checks that the server refuses it.
func TestOffersByScope(t *testing.T) {
	full := build(t, nil)
	ids, key, file := full.IDs(), full.upstreamKey(), full.FileIDs()[0]
	for _, offer := range []struct {
		page, text string
		scopes     []access.Scope // that have it; admin has all
		post       string
	}{
		{"/upstreams/" + key, `id="a-drain"`, []access.Scope{access.Operate}, "/upstreams/" + key + "/drain"},
		{"/batches/" + ids[1], `id="a-cancel"`, []access.Scope{access.Batch}, "/batches/" + ids[1] + "/cancel"},
		{"/batches/" + ids[1], `id="a-pause"`, []access.Scope{access.Operate}, "/batches/" + ids[1] + "/pause"},
		{"/batches/" + ids[9], `id="a-delete"`, []access.Scope{access.Batch}, "/batches/" + ids[9] + "/delete"},
		{"/batches/" + ids[9], `id="a-retry"`, []access.Scope{access.Batch}, "/batches/" + ids[9] + "/retry"},
		{"/files", file + `/delete"`, []access.Scope{access.Batch}, "/files/" + file + "/delete"},
		{"/files", `href="/dashboard/new"`, []access.Scope{access.Batch}, "/new"},
		{"/batches", `value="delete"`, []access.Scope{access.Batch}, ""},
		{"/batches", `value="pause"`, []access.Scope{access.Batch, access.Operate}, ""},
		{"/batches", `type="checkbox"`, []access.Scope{access.Batch, access.Operate}, ""},
		{"/", `href="/dashboard/doctor"`, []access.Scope{access.Operate}, ""},
		{"/", `href="/dashboard/keys"`, nil, "/keys"},
	} {
		for _, own := range []access.Scope{access.Read, access.Batch, access.Operate, access.Admin} {
			want := own == access.Admin
			for _, s := range offer.scopes {
				want = want || s == own
			}
			h := build(t, nil, as(own))
			if got := strings.Contains(h.page(offer.page), offer.text); got != want {
				t.Errorf("%s with the scope %s has %s: %t, want %t", offer.page, own, offer.text, got, want)
			}
			if offer.post == "" || want {
				continue
			}
			if w := h.post(offer.post); w.Code != http.StatusForbidden || len(h.Done()) > 0 {
				t.Errorf("POST %s with the scope %s: got %d, did %q, want 403", offer.post, own, w.Code, h.Done())
			}
		}
	}
}

// TestStreamsDoNotShareRights checks that viewers of one page with different rights get
// their own actions.
func TestStreamsDoNotShareRights(t *testing.T) {
	h := build(t, nil, quick, as(access.Read))
	base := h.serve()
	id := h.IDs()[1]
	for path, section := range map[string]string{"/events/batches/" + id: "actions"} {
		for _, scope := range []access.Scope{"", access.Operate, access.Batch, ""} {
			v := watch(t, base+path, "Test-Scope", string(scope))
			for {
				e, ok := v.next()
				if !ok {
					t.Fatal("the stream ended")
				}
				if e.name != section {
					continue
				}
				for text, want := range map[string]bool{`id="a-pause"`: scope == access.Operate, `id="a-cancel"`: scope == access.Batch} {
					if got := strings.Contains(e.data, text); got != want {
						t.Errorf("%s with the scope %q has %s: %t, want %t", path, scope, text, got, want)
					}
				}
				break
			}
		}
	}
}
