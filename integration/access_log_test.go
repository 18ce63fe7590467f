package integration

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/tidegate/tidegate/integration/tidegatetest"
)

// secretRequest has a key in every place where clients put one.
func secretRequest(t *testing.T, g *tidegatetest.Gateway, path string, secret string) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, g.URL+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"X-Api-Key", "Api-Key", "X-Goog-Api-Key"} {
		r.Header.Set(name, secret)
	}
	r.Header.Set("Authorization", "Bearer "+secret)
	r.Header.Set("Proxy-Authorization", "Bearer "+secret)
	r.Header.Set("Cookie", "session="+secret)
	r.Header.Set("Referer", "http://localhost/x?key="+secret)
	got, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	got.Body.Close()
}

// No key of a client is in an access log that has the format, in a file or beside
// the rest, and other parts of the request are.
func TestKeysAreNotInAccessLogs(t *testing.T) {
	const secret = "sk-not-for-logs"
	sim := tidegatetest.StartSim(t)
	for name, format := range map[string]string{
		"default": "format tidegate", "json": "format tidegate {\n wrap json\n}", "console": "format tidegate {\n wrap console\n}",
	} {
		t.Run(name, func(t *testing.T) {
			log := filepath.Join(t.TempDir(), "access.log")
			g := tidegatetest.Run(t, tidegatetest.Settings{
				Sims: []*tidegatetest.Sim{sim}, App: "api_keys " + secret,
				Site: fmt.Sprintf("log {\n output file %s\n %s\n}\n tidegate", log, format),
			})
			paths := []string{"/v1/models", "/v1/batches", "/health", "/dashboard/", "/nowhere"}
			for i, path := range paths {
				for _, word := range []string{"key", "Key", "api_key", "api-key", "apiKey", "access_token", "client_secret"} {
					secretRequest(t, g, fmt.Sprintf("%s?seen=%d&%s=%s&more=1", path, i, word, secret), secret)
				}
			}
			var text string
			tidegatetest.Eventually(t, 10*time.Second, "every request is logged", func() bool {
				read, err := os.ReadFile(log)
				text = string(read)
				return err == nil && strings.Count(text, "?seen=") == 7*len(paths)
			})
			if strings.Contains(text, secret) {
				t.Errorf("the log has the key: %s", text[max(strings.Index(text, secret)-1000, 0):][:1100])
			}
			for i, path := range paths {
				if want := fmt.Sprintf("%s?seen=%d&", path, i); !strings.Contains(text, want) && !strings.Contains(text, strings.ReplaceAll(want, "&", `\u0026`)) {
					t.Errorf("the log has no %s: %s", want, text[:min(len(text), 1000)])
				}
			}
			if !strings.Contains(text, "more=1") || !strings.Contains(text, "REDACTED") {
				t.Errorf("the log says too little: %s", text[:min(len(text), 1000)])
			}
		})
	}
}
