package gateway

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/tidegate/tidegate/integration/tidegatetest"
)

// secretRequest sends a request with a key in every place that clients use.
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
				t.Errorf("log has too few fields: %s", text[:min(len(text), 1000)])
			}
		})
	}
}

// Entries of live requests say which model and server answered, how soon, and what
// it cost.
func TestAccessLogOfLiveRequests(t *testing.T) {
	t.Parallel()
	sim := tidegatetest.StartSim(t)
	log := filepath.Join(t.TempDir(), "access.log")
	g := tidegatetest.Run(t, tidegatetest.Settings{
		Sims: []*tidegatetest.Sim{sim}, Site: fmt.Sprintf("log {\n output file %s\n format tidegate {\n wrap json\n}\n}\n tidegate", log),
	})
	const stream = `{"model":"sim","stream":true,"stream_options":{"include_usage":true},"max_tokens":5,"messages":[{"role":"user","content":"hi"}]}`
	for _, body := range []string{
		stream,
		`{"model":"sim","max_tokens":3,"service_tier":"flex","messages":[{"role":"user","content":"hi"}]}`,
		`{"model":"made-up","messages":[{"role":"user","content":"hi"}]}`,
		`{"model":"sim","stream":true,"max_tokens":5,"messages":[{"role":"user","content":"hi [[sim:no-usage]]"}]}`,
	} {
		g.Chat(t.Context(), []byte(body), nil)
	}
	var entries []map[string]any
	tidegatetest.Eventually(t, 10*time.Second, "every request is logged", func() bool {
		read, err := os.ReadFile(log)
		entries = nil
		for line := range strings.Lines(string(read)) {
			var entry map[string]any
			if json.Unmarshal([]byte(line), &entry) == nil && strings.Contains(line, tidegatetest.ChatPath) {
				entries = append(entries, entry)
			}
		}
		return err == nil && len(entries) == 4
	})
	for i, want := range []map[string]any{
		{"tidegate.model": "sim", "tidegate.class": "live", "tidegate.upstream": sim.URL, "tidegate.output_tokens": 5., "tidegate.usage_estimated": nil},
		{"tidegate.model": "sim", "tidegate.class": "flex", "tidegate.upstream": sim.URL, "tidegate.output_tokens": 3.},
		{"tidegate.model": nil, "tidegate.class": "live", "tidegate.upstream": nil, "tidegate.output_tokens": nil, "tidegate.ttft": nil},
		{"tidegate.model": "sim", "tidegate.usage_estimated": true},
	} {
		for field, value := range want {
			if got := entries[i][field]; got != value {
				t.Errorf("request %d: %s is %v, want %v", i, field, got, value)
			}
		}
	}
	for _, field := range []string{"tidegate.ttft", "tidegate.input_tokens"} {
		if n, ok := entries[0][field].(float64); !ok || n <= 0 {
			t.Errorf("%s of a stream is %v, want a number above 0", field, entries[0][field])
		}
	}
}
