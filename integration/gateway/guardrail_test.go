package gateway

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tidegate/tidegate/integration/tidegatetest"
)

// TestGuardrailAndBatch runs a batch while its guardrail is down, and later responds:
// no line fails meanwhile, each passing line runs once, and each rejected one has the
// guardrail's error without having been sent. The key of the service is shown nowhere.
func TestGuardrailAndBatch(t *testing.T) {
	t.Parallel()
	const lines, each, key = 60, 4, "the-key-of-the-guardrail"
	var down atomic.Bool
	var refused atomic.Int64
	down.Store(true)
	service := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "Bearer "+key {
			t.Errorf("got header %v, want the key", r.Header)
		}
		if down.Load() {
			refused.Add(1)
			w.WriteHeader(http.StatusServiceUnavailable)
			return
		}
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return
		}
		answer := `{"action":"pass"}`
		if strings.Contains(string(body), "forbidden") {
			answer = `{"action":"reject","message":"This subject is forbidden.","code":"subject"}`
		}
		_, _ = io.WriteString(w, answer)
	}))
	t.Cleanup(service.Close)
	sims := tidegatetest.StartSims(t, 2)
	g := tidegatetest.Run(t, tidegatetest.Settings{
		Sims: sims, Env: []string{"GUARDRAIL_KEY=" + key},
		Pool:  "guardrail " + service.URL + "/check {\nkey {env.GUARDRAIL_KEY}\n}",
		Batch: "retry_backoff 10ms 20ms\nretries 1",
	})
	input := tidegatetest.BatchInput(t, lines, func(i int) string {
		if i%each == 0 {
			return fmt.Sprint("a forbidden question ", i)
		}
		return fmt.Sprint("question ", i)
	})
	b := g.Submit(t, input)
	if !tidegatetest.Poll(time.Minute, func() bool { return refused.Load() > 2*lines }) {
		t.Fatalf("the service was asked %d times", refused.Load())
	}
	if status, answer, err := g.Call(t.Context(), http.MethodPost, tidegatetest.ChatPath, "application/json", tidegatetest.ChatBody(t, "hi", false)); err != nil || status != http.StatusServiceUnavailable || !strings.Contains(string(answer), "guardrail") {
		t.Errorf("a live request got %d %s, %v; want 503 because of the guardrail", status, answer, err)
	}
	var health struct {
		Status  string
		Failure string `json:"guardrail_failure"`
	}
	g.Get(t, "/health", &health)
	if health.Status != "degraded" || !strings.Contains(health.Failure, "status 503") {
		t.Errorf("health is %+v, want degraded and the guardrail's status", health)
	}
	if got := g.Batch(t, b.ID).RequestCounts; got.Completed != 0 || got.Failed != 0 {
		t.Errorf("without decisions the batch has %+v, want no results", got)
	}
	down.Store(false)
	b = g.WaitEnd(t, b.ID, time.Minute)
	results := g.Results(t, b, input)
	if b.Status != "completed" || len(results.Output) != lines-lines/each || len(results.Errors) != lines/each {
		t.Errorf("the batch is %s with %d results and %d errors, want %d and %d", b.Status, len(results.Output), len(results.Errors), lines-lines/each, lines/each)
	}
	for id, r := range results.Errors {
		var body struct {
			Error struct{ Message, Code string }
		}
		if r.Response == nil || r.Response.StatusCode != http.StatusBadRequest || json.Unmarshal(r.Response.Body, &body) != nil || body.Error.Code != "subject" || body.Error.Message != "This subject is forbidden." {
			t.Errorf("line %s has %+v, want the guardrail's error", id, r)
		}
	}
	for id, calls := range tidegatetest.TotalCalls(t, sims...) {
		if calls.Finished != 1 {
			t.Errorf("request %s ran %d times, want 1", id, calls.Finished)
		}
	}
	if n := len(tidegatetest.TotalCalls(t, sims...)); n != lines-lines/each {
		t.Errorf("the servers received %d requests, want %d", n, lines-lines/each)
	}
	configuration, err := http.Get("http://" + g.Admin + "/config/")
	if err != nil {
		t.Fatal(err)
	}
	defer configuration.Body.Close()
	shown, err := io.ReadAll(configuration.Body)
	if err != nil || strings.Contains(string(shown), key) || !strings.Contains(string(shown), "{env.GUARDRAIL_KEY}") {
		t.Errorf("the configuration is %s, %v; want the placeholder of the key", shown, err)
	}
}

// A client beyond its limits does not reach the guardrail, one whose requests are rejected
// uses up its limit, and the service is told tenant and key, but not the secret.
func TestGuardrailAndLimits(t *testing.T) {
	t.Parallel()
	type asked struct {
		Class, Tenant string
		KeyID         string `json:"key_id"`
		KeyName       string `json:"key_name"`
	}
	var mu sync.Mutex
	seen := make(map[asked]int)
	service := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		text, err := io.ReadAll(r.Body)
		var a asked
		if err != nil || json.Unmarshal(text, &a) != nil || strings.Contains(fmt.Sprint(r.Header, string(text)), limitedKey) {
			t.Errorf("got %v %s, want a request without the secret of the key", r.Header, text)
		}
		mu.Lock()
		seen[a]++
		mu.Unlock()
		_, _ = io.WriteString(w, `{"action":"reject"}`)
	}))
	t.Cleanup(service.Close)
	g := runLimitedPool(t, tidegatetest.StartSims(t, 1), "requests_per_minute 3", "guardrail "+service.URL)
	body := tidegatetest.ChatBody(t, "hi", false)
	statuses := make(map[int]int)
	for range 20 {
		answer, _ := chat(t, g, body)
		statuses[answer.StatusCode]++
	}
	input := tidegatetest.BatchInput(t, 1, func(int) string { return "hi" })
	g.APIKey = adminKey
	g.WaitEnd(t, g.Submit(t, input).ID, time.Minute)
	mu.Lock()
	defer mu.Unlock()
	limited, line := asked{"live", "team", "static/limited", "limited"}, asked{"batch", "default", "static/admin", "admin"}
	if statuses[400] < 3 || statuses[400] > 4 || statuses[400]+statuses[429] != 20 { // one is refilled in 20 s
		t.Errorf("got statuses %v, want 3 rejected requests, and 429 for the others", statuses)
	}
	if len(seen) != 2 || seen[limited] != statuses[400] || seen[line] != 1 {
		t.Errorf("the guardrail was asked %v, want %d times for %+v and once for %+v", seen, statuses[400], limited, line)
	}
}
