package dashboard_test

import (
	"net/http"
	"strings"
	"testing"
)

func TestUsagePage(t *testing.T) {
	h := build(t, nil)
	month := h.Clock().UTC().Format("2006-01")
	for path, want := range map[string][]string{
		"/usage":               {"By day", h.Clock().UTC().Format("2006-01-02"), "Cost EUR", `by=day&amp;month=` + month},
		"/usage?by=key":        {`nightly`, "static/web", "key_1"},
		"/usage?by=model":      {"Qwen/Qwen3-32B", "live"},
		"/usage?by=batch":      {`href="/dashboard/batches/` + h.IDs()[0]},
		"/usage?month=2020-01": {"January 2020", "No requests in this month.", "Next month"},
		"/usage?by=x&month=y":  {"By day"},
		"/usage?by=day":        {"Limits and their use now, all tenants", "Tokens are estimated for", "team-1", "1,000,001", `class="bad">100 %`, "12.35", "tokens per month", "continuously", "31,000"},
	} {
		page := h.page(path)
		for _, text := range want {
			if !strings.Contains(page, text) {
				t.Errorf("%s does not have %q", path, text)
			}
		}
	}
	if strings.Contains(h.page("/usage"), "Next month") {
		t.Error("the current month has a next one")
	}
	table := h.get("/usage.csv?by=key&month=" + month)
	if table.Code != http.StatusOK || !strings.HasPrefix(table.Header().Get("Content-Type"), "text/csv") || !strings.HasPrefix(table.Body.String(), "key_id,key_name,requests,") {
		t.Errorf("CSV: %d %v %q", table.Code, table.Header(), table.Body)
	}
}
