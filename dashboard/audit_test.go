package dashboard_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/tidegate/tidegate/access"
	"github.com/tidegate/tidegate/dashboard"
)

func TestAuditLogHasPages(t *testing.T) {
	h := build(t, nil)
	first := h.page("/audit")
	if !strings.Contains(first, "batch.delete") || !strings.Contains(first, "198.51.100.7") || !strings.Contains(first, "req_60") {
		t.Errorf("the newest entry is missing:\n%s", first)
	}
	if strings.Contains(first, "First page") || !strings.Contains(first, "/dashboard/audit?after=11") {
		t.Errorf("the first page leads to %s", first)
	}
	second := h.page("/audit?after=11")
	if !strings.Contains(second, "First page") || strings.Contains(second, "Next page") || !strings.Contains(second, "req_10") || strings.Contains(second, "req_11") {
		t.Errorf("the last page is\n%s", second)
	}
	for _, bad := range []string{"x", "-1", "0", "1e9", "99999999999999999999"} {
		if w := h.get("/audit?after=" + bad); w.Code != http.StatusNotFound {
			t.Errorf("after=%s: got %d, want 404", bad, w.Code)
		}
	}
}

// Only administrators see the log and the link to it, and what they may not do is reported.
func TestAuditLogIsForAdministrators(t *testing.T) {
	for _, own := range access.Scopes {
		var refused []access.Scope
		h := build(t, nil, func(cfg *dashboard.Config) {
			cfg.Identity = func(*http.Request) access.Identity { return access.Identity{Tenant: "t", Scopes: []access.Scope{own}} }
			cfg.Refused = func(_ *http.Request, s access.Scope) { refused = append(refused, s) }
		})
		want := http.StatusForbidden
		if own == access.Admin {
			want = http.StatusOK
		}
		w := h.get("/audit")
		if w.Code != want {
			t.Errorf("scope %s: got %d, want %d", own, w.Code, want)
		}
		if linked := strings.Contains(w.Body.String(), `href="/dashboard/audit"`); linked != (own == access.Admin) {
			t.Errorf("scope %s: linked is %t", own, linked)
		}
		if (len(refused) == 1 && refused[0] == access.Admin) == (own == access.Admin) {
			t.Errorf("scope %s: refused is %v", own, refused)
		}
	}
}
