package gateway

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/tidegate/tidegate/integration/tidegatetest"
	"github.com/tidegate/tidegate/internal/openai"
)

// usageTotal is the total of a usage report, with its costs as written.
type usageTotal struct {
	Requests int64       `json:"requests"`
	Input    int64       `json:"input_tokens"`
	Output   int64       `json:"output_tokens"`
	Cost     json.Number `json:"cost"`
	Unpriced int64       `json:"unpriced_requests"`
	// Estimated are those whose tokens the server did not report.
	Estimated int64 `json:"estimated_requests"`
}

// spent returns the usage that a key sees.
func spent(t *testing.T, g *tidegatetest.Gateway, key, query string) usageTotal {
	t.Helper()
	var report struct {
		Total usageTotal `json:"total"`
	}
	g.APIKey = key
	g.Get(t, "/v1/usage?from=2020-01-01&to=2099-01-01&"+query, &report)
	return report.Total
}

// money formats billionths.
func money(n int64) json.Number {
	text := strings.TrimRight(fmt.Sprintf("%d.%09d", n/1e9, n%1e9), "0")
	return json.Number(strings.TrimSuffix(text, "."))
}

// Live requests and batches of two keys cost exactly their tokens, after a restart too. A
// kill loses no usage of a batch, and counts none twice.
func TestUsage(t *testing.T) {
	t.Parallel()
	const web, night = "web-secret", "night-secret"
	settings := tidegatetest.Settings{
		Sims: tidegatetest.StartSims(t, 1, "--ttft", "20ms"),
		App: `cost {
			currency EUR
			batch_discount 0.5
			model * input 0.5 cached_input 0.5 output 1.5
		}
		key web {
			secret {env.KEY_WEB}
			tenant team-a
		}
		key night {
			secret {env.KEY_NIGHT}
			tenant team-b
		}`,
		Batch: "max_in_flight 8\n lease 1s\n",
		Env:   []string{"KEY_WEB=" + web, "KEY_NIGHT=" + night},
	}
	g := tidegatetest.Run(t, settings)

	var live openai.Usage
	g.APIKey = web
	for i := range 5 {
		status, answer, err := g.Call(t.Context(), http.MethodPost, tidegatetest.ChatPath, "application/json", tidegatetest.ChatBody(t, strings.Repeat("hello ", i+1), false))
		if err != nil || status != http.StatusOK {
			t.Fatalf("live request: %d %s, %v", status, answer, err)
		}
		usage, _, known := openai.ScanUsage(answer)
		if !known {
			t.Fatalf("the answer has no usage: %s", answer)
		}
		live.Add(usage)
	}
	g.APIKey = night
	if status, answer, err := g.Call(t.Context(), http.MethodPost, tidegatetest.ChatPath, "application/json", tidegatetest.ChatBody(t, "[[sim:no-usage]] [[sim:tokens=9]]", true)); err != nil || status != http.StatusOK {
		t.Fatalf("stream without usage: %d %s, %v", status, answer, err)
	}
	input := tidegatetest.BatchInput(t, 300, func(int) string { return "hello there" })
	id := g.Submit(t, input).ID
	g.WaitCompleted(t, id, 20, time.Minute)
	g.Restart(t) // writes the usage of live requests
	g.WaitCompleted(t, id, 60, time.Minute)
	g.Kill(t)
	g.Start(t)
	b := g.WaitEnd(t, id, time.Minute)
	if b.RequestCounts.Completed != 300 {
		t.Fatalf("the batch ended as %s, %+v", b.Status, b.RequestCounts)
	}

	wantLive := usageTotal{5, live.InputTokens, live.OutputTokens, money(500*live.InputTokens + 1500*live.OutputTokens), 0, 0}
	wantBatch := usageTotal{300, b.Usage.InputTokens, b.Usage.OutputTokens, money(250*b.Usage.InputTokens + 750*b.Usage.OutputTokens), 0, 0}
	for range 2 {
		// Nine tokens, the event before them and [DONE].
		if got := spent(t, g, night, "class=live"); got.Requests != 1 || got.Estimated != 1 || got.Input == 0 || got.Output != 11 || got.Cost != money(500*got.Input+1500*got.Output) {
			t.Errorf("a stream without usage: got %+v, want 11 estimated tokens of output and their cost", got)
		}
		if got := spent(t, g, web, "group_by=key"); got != wantLive {
			t.Errorf("live requests: got %+v, want %+v", got, wantLive)
		}
		if got := spent(t, g, night, "group_by=key,model&key=static/night&class=batch"); got != wantBatch {
			t.Errorf("the batch: got %+v, want %+v", got, wantBatch)
		}
		if got := spent(t, g, night, "group_by=batch"); got != wantBatch {
			t.Errorf("by batch: got %+v, want %+v", got, wantBatch)
		}
		if b := g.Batch(t, id); b.Cost == nil || b.Cost.Value != wantBatch.Cost || b.Cost.Currency != "EUR" {
			t.Errorf("the batch object has the cost %+v, want %s EUR", b.Cost, wantBatch.Cost)
		}
		g.Restart(t)
	}
}
