package holes

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tidegate/tidegate/integration/tidegatetest"
)

// spans is a receiver of traces, in OTLP over HTTP.
type spans struct {
	url string

	mu   sync.Mutex
	text strings.Builder // guarded by mu; the messages: protobuf has texts as they are
}

func startSpans(t *testing.T) *spans {
	s := new(spans)
	server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		message, err := io.ReadAll(r.Body)
		if err != nil || r.URL.Path != "/v1/traces" || r.Header.Get("Content-Encoding") != "" {
			t.Errorf("%s %s, encoded %q: %v", r.Method, r.URL, r.Header.Get("Content-Encoding"), err)
		}
		s.mu.Lock()
		defer s.mu.Unlock()
		s.text.Write(message)
	}))
	t.Cleanup(server.Close)
	s.url = server.URL
	return s
}

// env makes Caddy's handler tracing send its spans here, soon.
func (s *spans) env() []string {
	return []string{"OTEL_TRACES_EXPORTER=otlp", "OTEL_EXPORTER_OTLP_PROTOCOL=http/protobuf", "OTEL_EXPORTER_OTLP_ENDPOINT=" + s.url, "OTEL_BSP_SCHEDULE_DELAY=100"}
}

func (s *spans) received() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.text.String()
}

// What clients send is in no log, metric, trace or health report, and nowhere that another tenant
// can see. Names of keys are documented to be in the audit log, paths and other headers than those
// with keys in the access log, paths and User-Agent in traces.
func TestCanary(t *testing.T) {
	t.Parallel()
	log := filepath.Join(t.TempDir(), "access.log")
	traces := startSpans(t)
	w := start(t, tidegatetest.Settings{
		App: keys, Global: "debug", Batch: "retries 1\nretry_backoff 1ms 1ms",
		Site: "log {\n output file " + log + "\n format tidegate\n}\ntracing\ntidegate", Env: traces.env(),
	})
	const canary = "canary-7f3a9c"
	n := 0
	token := func(field string) string { n++; return fmt.Sprintf("%s-%s-%d", canary, field, n) }
	text := func(v any) string { b, _ := json.Marshal(v); return string(b) }

	file := w.upload(t, alice, token("filename")+".jsonl", line(token("custom_id"), "sim", token("prompt"))+line(token("custom_id"), token("model"), token("prompt")))
	batch := w.create(t, alice, file, text(map[string]string{token("key"): token("value")}))
	w.ended(t, alice, batch)
	good := w.upload(t, alice, token("filename")+".jsonl", line(token("custom_id"), "sim", token("prompt")))
	w.server.answers(500, `{"error":{"message":"`+token("answer")+`"}}`)
	w.ended(t, alice, w.create(t, alice, good, text(map[string]string{"k": token("value")})))
	w.ask(t, "POST", chatPath, alice, `{"model":"sim","user":"`+token("user")+`","messages":[{"role":"user","content":"`+token("prompt")+`"}]}`)
	w.server.answers(0, `{"id":"c","choices":[{"message":{"content":"`+token("answer")+`"}}]}`)
	w.ask(t, "POST", chatPath, alice, `{"model":"`+token("model")+`","messages":[{"role":"user","content":"`+token("prompt")+`"}]}`)
	w.ask(t, "POST", chatPath, alice, chat(`"tools":[{"type":"function","function":{"name":"`+token("tool")+`"}}]`))
	w.ask(t, "POST", "/v1/uploads", alice, `{"filename":"`+token("filename")+`","purpose":"user_data","mime_type":"`+token("mime")+`","bytes":1}`)
	w.ask(t, "POST", "/v1/batches", alice, `{"input_file_id":"`+token("id")+`","endpoint":"`+token("endpoint")+`"}`)
	w.ask(t, "POST", "/v1/batches", alice, `{"input_file_id":"`+good+`","endpoint":"/v1/chat/completions","completion_window":"24h"}`, "Idempotency-Key", "documented")
	for _, header := range every(token("secret")) {
		w.ask(t, "GET", "/v1/files", "", "", header...).want(t, "a wrong key", http.StatusUnauthorized)
	}
	w.ask(t, "GET", "/dashboard/", "", "", every(token("password"))[3]...)
	w.ask(t, "POST", "/v1/keys", alice, `{"name":"`+token("keyname")+`"}`)
	_, secret := w.manage(t, `{"name":"k","scopes":["read"]}`)
	w.ask(t, "GET", "/v1/batches", secret, "")
	w.ask(t, "GET", "/v1/files?key="+token("query"), alice, "", "Cookie", "session="+token("cookie"))

	places := map[string]string{
		"the log":               w.Log(t),
		"the health report":     w.ask(t, "GET", "/health", admin, "").body,
		"the doctor's report":   w.ask(t, "GET", "/doctor", admin, "").body,
		"the metrics":           w.ask(t, "GET", "/metrics", admin, "").body,
		"the audit log":         w.ask(t, "GET", "/v1/audit?limit=1000", admin, "").body,
		"the exported audit":    w.ask(t, "GET", "/v1/audit?format=csv", admin, "").body,
		"the list of keys":      w.ask(t, "GET", "/v1/keys", admin, "").body,
		"the list of servers":   w.ask(t, "GET", "/upstreams", admin, "").body,
		"the demand of another": w.ask(t, "GET", "/v1/batches/demand", bob, "").body,
	}
	for _, path := range []string{"/v1/files", "/v1/batches", "/v1/batches/dashboard", "/v1/analytics/tokens", "/v1/analytics/timeline", "/dashboard/", "/dashboard/wall", "/dashboard/throughput", "/dashboard/batches", "/dashboard/files", "/dashboard/upstreams"} {
		r := w.ask(t, "GET", path, bob, "")
		r.want(t, path, http.StatusOK)
		places["another tenant's "+path] = r.body
	}
	tidegatetest.Eventually(t, time.Minute, "the access log has the last request", func() bool {
		text, err := os.ReadFile(log)
		places["the access log"] = string(text)
		return err == nil && strings.Contains(string(text), "/dashboard/upstreams")
	})
	tidegatetest.Eventually(t, time.Minute, "the traces have the first and the last request", func() bool {
		text := traces.received()
		places["the traces"] = text
		return strings.Contains(text, chatPath) && strings.Contains(text, "/dashboard/upstreams")
	})
	for place, text := range places {
		if text == "" {
			t.Errorf("%s is empty", place)
		}
		for _, hidden := range []string{canary, secret, admin, alice, bob} {
			for rest := text; ; {
				i := strings.Index(rest, hidden)
				if i < 0 {
					break
				}
				t.Errorf("%s has %.60q in …%q…", place, rest[i:], rest[max(0, i-200):min(len(rest), i+80)])
				rest = rest[i+len(hidden):]
			}
		}
	}
	if own := w.ask(t, "GET", "/v1/files", alice, "").body; !strings.Contains(own, canary) { // the test finds what is there
		t.Errorf("its owner does not see the file: %s", own)
	}
}
