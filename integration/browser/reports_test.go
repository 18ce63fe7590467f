package browser

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/tidegate/tidegate/integration/tidegatetest"
)

// TestReportsPage opens a page that reads the report routes field by field, as the
// pages of the batch server BESH do: on the site of the gateway, where the browser
// shows the key, and on a site of another origin, where the page does.
func TestReportsPage(t *testing.T) {
	const key, batches, lines = "a-key", 12, 5
	dir, err := filepath.Abs("testdata")
	if err != nil {
		t.Fatal(err)
	}
	elsewhere := httptest.NewServer(http.FileServer(http.Dir(dir)))
	t.Cleanup(elsewhere.Close)
	gateway := tidegatetest.Run(t, tidegatetest.Settings{
		Sims:  []*tidegatetest.Sim{tidegatetest.StartSim(t)},
		App:   "api_keys " + key + "\n cors " + elsewhere.URL,
		Batch: "drain_timeout 100ms", // the last batch hangs
		Site:  fmt.Sprintf("handle /besh.html {\n root * %s\n file_server\n }\n tidegate", dir),
	})
	gateway.APIKey = key
	for range batches - 1 {
		gateway.WaitEnd(t, gateway.Submit(t, tidegatetest.BatchInput(t, lines, func(i int) string {
			if i == 0 {
				return "[[sim:status=400]]"
			}
			return "Hello"
		})).ID, time.Minute)
	}
	waiting := gateway.Submit(t, tidegatetest.BatchInput(t, lines, func(int) string { return "[[sim:hang]]" }))
	tidegatetest.Eventually(t, time.Minute, "the last batch runs", func() bool { return gateway.Batch(t, waiting.ID).Status == "in_progress" })

	for name, tt := range map[string]struct {
		address, hash string
		login         bool
	}{
		"own site":                       {gateway.URL + "/besh.html", "generation=2", true},
		"own site, first generation":     {gateway.URL + "/besh.html", "generation=1", true},
		"another site":                   {elsewhere.URL + "/besh.html", "generation=2&base=" + gateway.URL + "&key=" + key, false},
		"another site, first generation": {elsewhere.URL + "/besh.html", "generation=1&base=" + gateway.URL + "&key=" + key, false},
	} {
		t.Run(name, func(t *testing.T) {
			p := open(t, desktop)
			if tt.login { // what a user types when the browser asks
				p.expect("/favicon.ico")
				p.navigate(strings.Replace(gateway.URL, "http://", "http://admin:"+key+"@", 1) + "/v1/batches/status")
			}
			p.visit(tt.address + "#" + tt.hash)
			p.until(`document.body.dataset.shown !== undefined`)
			if got := evaluate[string](p, `document.body.dataset.shown`); got != "all" {
				t.Errorf("the page showed %q, want all", got)
			}
			p.quiet()
			for _, bad := range []string{"undefined", "NaN", "Invalid Date", "1970", "[object"} {
				if text := evaluate[string](p, `document.body.innerText`); strings.Contains(text, bad) {
					t.Errorf("the page has %q: %s", bad, text)
				}
			}
			cell := func(row int, name string) string {
				t.Helper()
				return evaluate[string](p, fmt.Sprintf(`document.querySelectorAll('#batches tr')[%d].querySelector('[data-name=%s]').textContent`, row, name))
			}
			entry := func(list, name string) string {
				t.Helper()
				return evaluate[string](p, fmt.Sprintf(`document.querySelector('#%s [data-name="%s"]').textContent`, list, name))
			}
			sums := map[string]string{"total_requests": "60", "total_request_completed": "44"}
			if strings.Contains(tt.hash, "generation=1") {
				sums = map[string]string{"overall_token_usage.total_requests": "60"}
			}
			for name, want := range sums {
				if got := entry("summary", name); got != want {
					t.Errorf("summary, %s: got %q, want %q", name, got, want)
				}
			}
			for _, tt := range []struct{ list, name, want string }{
				{"status", "queue", "connected"},
				{"status", "total", "12"},
				{"status", "active", "1"},
				{"summary", "batches", "12"},
				{"summary", "errors", "18.33 %"}, // 11 of 60
				{"summary", "status-completed", "11"},
				{"summary", "status-in_progress", "1"},
				{"created-summary", "total", "12"},
				{"tokens-summary", "total_batches", "11"},
				{"tokens-summary", "total_request_completed", "44"},
			} {
				if got := entry(tt.list, tt.name); got != tt.want {
					t.Errorf("%s, %s: got %q, want %q", tt.list, tt.name, got, tt.want)
				}
			}
			now := time.Now().UTC()
			for row, want := range map[int]map[string]string{
				0: {"id": waiting.ID, "status": "in_progress", "completed": "-", "took": "null", "requests": "5/0/0", "errors": "0.00 %", "tokens": "0/0/0/0/0"},
				1: {"status": "completed", "requests": "5/4/1", "errors": "20.00 %", "endpoint": tidegatetest.ChatPath},
			} {
				for name, want := range want {
					if got := cell(row, name); got != want {
						t.Errorf("row %d, %s: got %q, want %q", row, name, got, want)
					}
				}
				created, err := time.Parse("02/01/2006, 15:04:05", cell(row, "created"))
				if since := now.Sub(created); err != nil || since < -time.Minute || since > time.Hour {
					t.Errorf("row %d, created: got %q, want about %s", row, cell(row, "created"), now)
				}
			}
			for _, chart := range []struct {
				id   string
				most int
			}{{"created", 12}, {"tokens", 1}} {
				if got := evaluate[int](p, fmt.Sprintf(`Array.from(document.querySelectorAll('#%s i')).reduce((sum, bar) => sum + Number(bar.dataset.value), 0)`, chart.id)); got < chart.most {
					t.Errorf("bars of %s: got a sum of %d, want at least %d", chart.id, got, chart.most)
				}
			}
			p.shoot("reports-" + strings.NewReplacer(" ", "-", ",", "").Replace(name))
			if got := evaluate[int](p, `document.querySelectorAll('#batches tr').length`); got != 10 {
				t.Errorf("first page: got %d batches, want 10", got)
			}
			p.press("#next")
			p.until(`document.getElementById('page').textContent === '2 of 2' && document.querySelectorAll('#batches tr').length === 2 && document.getElementById('next').disabled`)
			p.press("#prev")
			p.until(`document.getElementById('page').textContent === '1 of 2' && document.getElementById('prev').disabled`)
			p.quiet()
		})
	}
}
