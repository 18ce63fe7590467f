package dashboard_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/tidegate/tidegate/access"
	"github.com/tidegate/tidegate/dashboard"
)

// TestWebhooks checks that the page shows receivers and deliveries, and that a test shows the
// answer of the receiver that was selected, and of no other.
func TestWebhooks(t *testing.T) {
	h := build(t, nil)
	page := h.page("/webhooks")
	for _, text := range []string{"https://app.example.com/hooks", "all tenants", "addresses in the metadata of batches", "batch.expired", "the receiver answered 503", "next attempt"} {
		if !strings.Contains(page, text) {
			t.Errorf("the page has no %q:\n%s", text, page)
		}
	}
	if n := strings.Count(page, `action="/dashboard/webhooks/test"`); n != 2 {
		t.Errorf("%d receivers can be tested, want 2: addresses in metadata cannot", n)
	}
	for address, want := range map[string]struct {
		status int
		text   string
	}{
		"https://app.example.com/hooks": {http.StatusOK, "status 204"},
		"https://10.0.0.7/private":      {http.StatusOK, "the address is private"},
		"https://other.example.com":     {http.StatusNotFound, ""},
		"":                              {http.StatusNotFound, ""},
	} {
		w := h.post("/webhooks/test", "address", address)
		body := w.Body.String()
		if w.Code != want.status || !strings.Contains(body, want.text) {
			t.Errorf("%q: got %d, want %d with %q:\n%s", address, w.Code, want.status, want.text, body)
		}
		if answers := strings.Count(body, "Answers to the test"); (answers == 1) != (want.status == http.StatusOK) {
			t.Errorf("%q: %d sections with answers", address, answers)
		}
	}
}

// Only administrators see receivers, which are those of all tenants, and send tests.
func TestWebhooksAreForAdministrators(t *testing.T) {
	for _, own := range access.Scopes {
		h := build(t, nil, func(cfg *dashboard.Config) {
			cfg.Identity = func(*http.Request) access.Identity { return access.Identity{Tenant: "t", Scopes: []access.Scope{own}} }
		})
		want := http.StatusForbidden
		if own == access.Admin {
			want = http.StatusOK
		}
		if got := h.get("/webhooks").Code; got != want {
			t.Errorf("scope %s: got %d, want %d", own, got, want)
		}
		if got := h.post("/webhooks/test", "address", "https://app.example.com/hooks").Code; got != want {
			t.Errorf("scope %s, test: got %d, want %d", own, got, want)
		}
	}
}
