package dashboard_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/tidegate/tidegate/access"
	"github.com/tidegate/tidegate/dashboard"
)

// TestTenantIsSelected checks who can select a tenant, and which.
func TestTenantIsSelected(t *testing.T) {
	for _, own := range []access.Scope{access.Operate, access.Admin} {
		h := build(t, nil, as(own), func(cfg *dashboard.Config) { cfg.Tenant = "default" })
		if has := strings.Contains(h.page("/"), `id="tenant"`); has != (own == access.Admin) {
			t.Errorf("scope %s can select a tenant: %t", own, has)
		}
		for name, want := range map[string]string{"team-1": "tidegate_tenant=team-1;", " team-1 ": "tidegate_tenant=team-1;", "default": "tidegate_tenant=;", "": "tidegate_tenant=;", "a/b": ""} {
			w := h.post("/preferences", "tenant", name, "back", "/batches")
			got := w.Header().Get("Set-Cookie")
			switch {
			case own != access.Admin && got != "", own == access.Admin && (want == "") != (got == ""), own == access.Admin && !strings.HasPrefix(got, want):
				t.Errorf("scope %s selects %q: got %d and the cookie %q, want %q", own, name, w.Code, got, want)
			case got != "" && !strings.Contains(got, "HttpOnly"):
				t.Errorf("the cookie is %q", got)
			}
		}
	}
	r, err := http.NewRequest(http.MethodGet, "/", http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	r.AddCookie(&http.Cookie{Name: "tidegate_tenant", Value: "team-1"})
	for own, want := range map[access.Scope]string{access.Admin: "team-1", access.Operate: "t"} {
		if got := dashboard.SelectedTenant(r, access.Identity{Tenant: "t", Scopes: []access.Scope{own}}); got != want {
			t.Errorf("scope %s: got %s, want %s", own, got, want)
		}
	}
}
