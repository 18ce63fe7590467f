package dashboard_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/tidegate/tidegate/dashboard"
)

// TestCreatesNothing checks that without permission to create, no page offers it and every
// route refuses it, while batches can be shown and controlled.
func TestCreatesNothing(t *testing.T) {
	h := build(t, nil, func(cfg *dashboard.Config) { cfg.Creates = func() bool { return false } })
	ids, files := h.IDs(), h.FileIDs()
	failed := ids[9]
	offers := []string{`href="/dashboard/new`, `"/dashboard/batches/` + failed + `/retry"`, `value="retry"`}
	elsewhere := build(t, nil)
	for i, path := range []string{"/files", "/batches/" + failed, "/batches"} {
		if !strings.Contains(elsewhere.page(path), offers[i]) {
			t.Errorf("elsewhere %s does not offer %s", path, offers[i])
		}
	}
	for _, path := range []string{"/", "/batches", "/batches?state=active", "/files", "/batches/" + failed} {
		page := h.page(path)
		for _, offer := range offers {
			if strings.Contains(page, offer) {
				t.Errorf("%s offers %s", path, offer)
			}
		}
	}
	for _, path := range []string{"/new", "/new?file=" + files[0], "/batches/" + failed + "/retry"} {
		if w := h.get(path); w.Code != http.StatusForbidden || !strings.Contains(w.Body.String(), "role work") {
			t.Errorf("GET %s: got %d, want 403 and the reason", path, w.Code)
		}
	}
	for path, form := range map[string][]string{
		"/new":                          {"file", files[0], "endpoint", "/v1/embeddings"},
		"/new/upload":                   nil,
		"/batches/" + failed + "/retry": nil,
		"/batches/actions":              {"action", "retry", "batch", failed, "sure", "yes"},
	} {
		if w := h.post(path, form...); w.Code != http.StatusForbidden || !strings.Contains(w.Body.String(), "role work") {
			t.Errorf("POST %s: got %d, want 403 and the reason", path, w.Code)
		}
	}
	if done := h.Done(); len(done) != 0 {
		t.Errorf("it did %q", done)
	}
	if w := h.post("/batches/" + ids[1] + "/pause"); w.Code != http.StatusSeeOther {
		t.Errorf("pause: got %d, want 303", w.Code)
	}
}
