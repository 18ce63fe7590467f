package dashboard_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/tidegate/tidegate/templates"
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

// TestCostText finds amounts that are cut instead of rounded, and carries that are lost.
func TestCostText(t *testing.T) {
	for amount, want := range map[string]string{
		"0": "0.00", "12": "12.00", "1234.5": "1234.50", "0.5": "0.50", "0.056789": "0.057", "0.0001599": "0.00016", "0.00015": "0.00015", "0.000155": "0.00016", "0.0001549": "0.00015",
		"0.0999": "0.10", "0.00999": "0.010", "0.0995": "0.10", "0.994": "0.99", "0.995": "1.00", "0.09": "0.09", "9.999": "10.00", "99.995": "100.00", "1.005": "1.01", "1.0049": "1.00", "-0.0999": "-0.10", "-1.005": "-1.01", "0.999999999": "1.00", "0.000000009": "0.000000009",
		"0.000012345": "0.000012", "0.000000001": "0.000000001", "1.001": "1.00", "-0.25": "-0.25",
	} {
		if got := (templates.Cost{Amount: amount}).Short(); got != want {
			t.Errorf("%s is shown as %s, want %s", amount, got, want)
		}
	}
}
