package gateway

import (
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/tidegate/tidegate/integration/tidegatetest"
)

// scrape reads /metrics of a gateway's own port with a key, "" for none.
func scrape(t *testing.T, g *tidegatetest.Gateway, key string) (status int, text string) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, g.URL+"/metrics", nil)
	if err != nil {
		t.Fatal(err)
	}
	if key != "" {
		r.Header.Set("Authorization", "Bearer "+key)
	}
	got, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer got.Body.Close()
	body, err := io.ReadAll(got.Body)
	if err != nil {
		t.Fatal(err)
	}
	return got.StatusCode, string(body)
}

// Metrics are there without Caddy's admin endpoint, for those who may read the
// dashboard.
func TestMetricsWithoutAdmin(t *testing.T) {
	t.Parallel()
	sim := tidegatetest.StartSim(t)
	g := tidegatetest.Serve(t, tidegatetest.ServeConfig{Sims: []*tidegatetest.Sim{sim}, APIKey: "key"})
	if status, text := scrape(t, g, ""); status != http.StatusUnauthorized || strings.Contains(text, "tidegate_") {
		t.Errorf("without a key: got %d %.200s, want 401", status, text)
	}
	status, text := scrape(t, g, "key")
	if status != http.StatusOK {
		t.Fatalf("with a key: got %d %.200s, want 200", status, text)
	}
	for _, name := range []string{"tidegate_build_info{", "tidegate_upstream_up{", "tidegate_batch_lines_in_flight", "go_goroutines", "process_open_fds"} {
		if !strings.Contains(text, "\n"+name) {
			t.Errorf("%s is not among the metrics", name)
		}
	}
}

func TestMetricsOption(t *testing.T) {
	t.Parallel()
	sim := tidegatetest.StartSim(t)
	sims := []*tidegatetest.Sim{sim}
	g := tidegatetest.Run(t, tidegatetest.Settings{Sims: sims, App: "metrics off"})
	if status, _ := scrape(t, g, ""); status != http.StatusNotFound {
		t.Errorf("metrics off: got %d, want 404", status)
	}
	for _, tt := range []struct {
		app, key string
		want     int
	}{
		{"api_keys a\n metrics keys m", "", 401},
		{"api_keys a\n metrics public", "", 200},
		{"metrics keys m", "m", 200},
		{"metrics keys m", "", 401},
	} {
		g.Reload(t, tidegatetest.Settings{Sims: sims, App: tt.app})
		tidegatetest.Eventually(t, 10*time.Second, "the new configuration answers", func() bool {
			status, _ := scrape(t, g, tt.key)
			return status == tt.want
		})
	}
}
