package gateway

import (
	"net/http"
	"strings"
	"testing"

	"github.com/tidegate/tidegate/integration/tidegatetest"
)

// TestCrossOriginReads checks with the shipped Caddyfile that pages of the origins in
// TIDEGATE_CORS may use the API with a key, those of others may not, and that no origin may
// when the variable is empty.
func TestCrossOriginReads(t *testing.T) {
	const key, app, other, foreign = "a-key", "https://app.example.com", "http://localhost:3000", "https://evil.example"
	sim := tidegatetest.StartSim(t)
	for name, tt := range map[string]struct {
		origins string
		allowed map[string]string // origin to Access-Control-Allow-Origin
	}{
		"none":   {"", map[string]string{app: "", foreign: ""}},
		"two":    {app + "," + other, map[string]string{app: app, other: other, foreign: "", app + ".evil.example": ""}},
		"spaces": {app + " " + other, map[string]string{app: app, other: other, foreign: ""}},
		"all":    {"*", map[string]string{app: "*", foreign: "*"}},
	} {
		t.Run(name, func(t *testing.T) {
			g := shipped(t, sim, "TIDEGATE_API_KEYS="+key, "TIDEGATE_CORS="+tt.origins, "TIDEGATE_DATA="+t.TempDir())
			send := func(method, path, origin string, header ...string) *http.Response {
				t.Helper()
				r, err := http.NewRequestWithContext(t.Context(), method, g.URL+path, nil)
				if err != nil {
					t.Fatal(err)
				}
				r.Header.Set("Origin", origin)
				for i := 0; i < len(header); i += 2 {
					r.Header.Set(header[i], header[i+1])
				}
				answer, err := http.DefaultClient.Do(r)
				if err != nil {
					t.Fatal(err)
				}
				if err := answer.Body.Close(); err != nil {
					t.Fatal(err)
				}
				return answer
			}
			for origin, want := range tt.allowed {
				for _, path := range []string{"/v1/models", "/v1/batches/status", "/v1/analytics/tokens", "/health"} {
					a := send(http.MethodOptions, path, origin, "Access-Control-Request-Method", http.MethodGet, "Access-Control-Request-Headers", "authorization")
					status := http.StatusNoContent
					if want == "" {
						status = http.StatusForbidden
					}
					if got := a.Header.Get("Access-Control-Allow-Origin"); a.StatusCode != status || got != want || want != "" && a.Header.Get("Access-Control-Allow-Headers") != "authorization" {
						t.Errorf("preflight of %s by %s: got %d %v, want %d and %q allowed", path, origin, a.StatusCode, a.Header, status, want)
					}
					// A page's own code sends the key; the browser hides an answer without the header.
					a = send(http.MethodGet, path, origin, "Authorization", "Bearer "+key)
					if got := a.Header.Get("Access-Control-Allow-Origin"); a.StatusCode != http.StatusOK || got != want || a.Header.Get("Access-Control-Allow-Credentials") != "" {
						t.Errorf("%s by %s: got %d %v, want 200 and %q allowed", path, origin, a.StatusCode, a.Header, want)
					}
					if want == origin && !strings.Contains(strings.Join(a.Header.Values("Vary"), ","), "Origin") {
						t.Errorf("%s by %s: got Vary %q, want Origin", path, origin, a.Header.Values("Vary"))
					}
				}
			}
			if a := send(http.MethodGet, "/v1/models", app); a.StatusCode != http.StatusUnauthorized {
				t.Errorf("without a key: got %d, want 401", a.StatusCode)
			}
		})
	}
}
