package gateway

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tidegate/tidegate/integration/tidegatetest"
)

const (
	limitedKey = "limited-secret"
	adminKey   = "admin-secret"
)

// runLimited starts a gateway with a key that has limits, and an admin.
func runLimited(t *testing.T, sims []*tidegatetest.Sim, limits, more string) *tidegatetest.Gateway {
	t.Helper()
	return runLimitedPool(t, sims, limits, "", more)
}

// runLimitedPool is runLimited with options of the pool.
func runLimitedPool(t *testing.T, sims []*tidegatetest.Sim, limits, pool string, more ...string) *tidegatetest.Gateway {
	t.Helper()
	g := tidegatetest.Run(t, tidegatetest.Settings{
		Sims: sims, Pool: pool, Batch: "drain_timeout 100ms", Env: []string{"LIMITED_KEY=" + limitedKey, "ADMIN_KEY=" + adminKey},
		App: "key limited {\nsecret {env.LIMITED_KEY}\ntenant team\nlimits {\n" + limits + "\n}\n}\nkey admin {\nsecret {env.ADMIN_KEY}\nscopes admin\n}\n" + strings.Join(more, "\n"),
	})
	g.APIKey = limitedKey
	return g
}

// chat sends a live request and returns the answer with its body read.
func chat(t *testing.T, g *tidegatetest.Gateway, body []byte) (*http.Response, []byte) {
	t.Helper()
	r, err := g.Request(t.Context(), http.MethodPost, tidegatetest.ChatPath, "application/json", body)
	if err != nil {
		t.Fatal(err)
	}
	answer, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Error(err)
		return nil, nil
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	if err != nil {
		t.Error(err)
	}
	return answer, text
}

// Fifty parallel clients of one key get the limit and what is refilled meanwhile, no more
// and no less; a restart does not renew it, and another key is not limited.
func TestRequestsPerMinute(t *testing.T) {
	t.Parallel()
	const limit, clients = 120, 50
	sims := tidegatetest.StartSims(t, 2)
	g := runLimited(t, sims, "requests_per_minute "+strconv.Itoa(limit), "")
	body := tidegatetest.ChatBody(t, "hi", false)
	began := time.Now()
	flood := func() (admitted int) {
		var ok, refused atomic.Int64
		var all sync.WaitGroup
		for range clients {
			all.Go(func() {
				for range 6 {
					answer, text := chat(t, g, body)
					if answer == nil {
						return
					}
					if got := answer.Header.Get("X-Ratelimit-Limit-Requests"); got != strconv.Itoa(limit) {
						t.Errorf("x-ratelimit-limit-requests is %q, want %d", got, limit)
					}
					switch answer.StatusCode {
					case http.StatusOK:
						ok.Add(1)
					case http.StatusTooManyRequests:
						refused.Add(1)
						var e struct {
							Error struct{ Code, Type string }
						}
						if err := json.Unmarshal(text, &e); err != nil || e.Error.Code != "rate_limit_exceeded" || answer.Header.Get("Retry-After") == "" || answer.Header.Get("X-Ratelimit-Remaining-Requests") != "0" {
							t.Errorf("a refusal is %s with %v, %v; want OpenAI's", text, answer.Header, err)
						}
					default:
						t.Errorf("got %d %s, want 200 or 429", answer.StatusCode, text)
					}
				}
			})
		}
		all.Wait()
		if refused.Load() == 0 {
			t.Error("no request was refused")
		}
		return int(ok.Load())
	}
	most := func() int { return limit + int(time.Since(began).Seconds()*limit/60) + 1 }
	admitted := flood()
	if admitted < limit || admitted > most() {
		t.Errorf("%d requests were admitted, want %d to %d", admitted, limit, most())
	}
	n := 0
	for _, s := range sims {
		n += int(s.Stats(t).Calls)
	}
	if n != admitted {
		t.Errorf("the servers received %d requests, want %d", n, admitted)
	}
	g.Restart(t)
	if admitted += flood(); admitted > most() {
		t.Errorf("%d requests were admitted with those after a restart, want at most %d", admitted, most())
	}
	if refused := g.Metric(t, `tidegate_limit_refused_total{limit="requests_per_minute"}`); refused == 0 {
		t.Error("the metric of refused requests is 0 after the restart")
	}
	g.APIKey = adminKey
	if answer, text := chat(t, g, body); answer.StatusCode != http.StatusOK || answer.Header.Get("X-Ratelimit-Limit-Requests") != "" {
		t.Errorf("the admin got %d %s with %v, want 200 without limits", answer.StatusCode, text, answer.Header)
	}
	type usage struct {
		Key       string
		Remaining map[string]int64
	}
	var used struct{ Data []usage }
	g.Get(t, "/limits", &used)
	if len(used.Data) == 0 || used.Data[0].Key != "static/limited" || slices.ContainsFunc(used.Data[1:], func(u usage) bool { return u.Key != "" }) {
		t.Errorf("GET /limits has %+v, want the key, and tenants", used.Data)
	}
}

// No more requests are in flight than the limit, and as many can be.
func TestRequestsInFlight(t *testing.T) {
	t.Parallel()
	sims := []*tidegatetest.Sim{tidegatetest.StartSim(t, "--ttft", "20s")}
	g := runLimited(t, sims, "requests_in_flight 3", "")
	body := tidegatetest.ChatBody(t, "hi", true)
	var statuses [8]int
	var all sync.WaitGroup
	refused := make(chan struct{}, len(statuses))
	for i := range statuses {
		all.Go(func() {
			r, err := g.Request(t.Context(), http.MethodPost, tidegatetest.ChatPath, "application/json", bytes.Clone(body))
			if err != nil {
				t.Error(err)
				return
			}
			answer, err := http.DefaultClient.Do(r)
			if err != nil {
				return // the servers are stopped at the end
			}
			defer answer.Body.Close()
			statuses[i] = answer.StatusCode
			if answer.StatusCode == http.StatusTooManyRequests {
				refused <- struct{}{}
			}
		})
	}
	for range len(statuses) - 3 {
		select {
		case <-refused:
		case <-time.After(15 * time.Second):
			t.Fatal("fewer than 5 of 8 requests were refused, want 5")
		}
	}
	if n := sims[0].Stats(t).Running; n > 3 {
		t.Errorf("the server runs %d requests, want at most 3", n)
	}
	sims[0].Kill(t)
	all.Wait()
	for _, status := range statuses {
		if status == http.StatusOK {
			t.Error("got 200 of a server that was killed")
		}
	}
}

// The estimate is replaced by the tokens that an answer has used, and a failure is
// refunded.
func TestTokensPerMinute(t *testing.T) {
	t.Parallel()
	sims := tidegatetest.StartSims(t, 1)
	g := runLimited(t, sims, "tokens_per_minute 6000", "")
	remaining := func(body string) (status, left int) {
		answer, _ := chat(t, g, []byte(body))
		left, err := strconv.Atoi(answer.Header.Get("X-Ratelimit-Remaining-Tokens"))
		if err != nil {
			t.Errorf("x-ratelimit-remaining-tokens: %v", err)
		}
		return answer.StatusCode, left
	}
	var ask map[string]any
	if err := json.Unmarshal(tidegatetest.ChatBody(t, "hi", false), &ask); err != nil {
		t.Fatal(err)
	}
	ask["max_tokens"] = 5000
	large, err := json.Marshal(ask)
	if err != nil {
		t.Fatal(err)
	}
	for i := range 3 { // each reserves most of the limit, and uses little
		if status, left := remaining(string(large)); status != http.StatusOK || left > 1000 {
			t.Errorf("request %d: got %d with %d tokens left, want 200 and at most 1000", i, status, left)
		}
	}
	sims[0].Stop(t)
	for range 3 {
		if status, left := remaining(string(large)); status == http.StatusTooManyRequests || left > 1000 {
			t.Errorf("without a server: got %d with %d tokens left, want no refusal by the limit", status, left)
		}
	}
}

// A batch is refused when its key has made too many, and fails when too many lines or
// tokens would wait, as at OpenAI.
func TestBatchLimits(t *testing.T) {
	t.Parallel()
	sims := []*tidegatetest.Sim{tidegatetest.StartSim(t, "--ttft", "1m")}
	g := runLimited(t, sims, "lines_queued 30\nbatches_per_hour 3", "")
	input := func(n int) []byte {
		return tidegatetest.BatchInput(t, n, func(i int) string { return "question " + strconv.Itoa(i) })
	}
	running := g.Submit(t, input(20))
	tidegatetest.Eventually(t, time.Minute, "the batch runs", func() bool { return g.Batch(t, running.ID).Status == "in_progress" })
	full := g.WaitEnd(t, g.Submit(t, input(11)).ID, time.Minute)
	if full.Status != "failed" || full.Errors == nil || full.Errors.Data[0].Code != "token_limit_exceeded" {
		t.Errorf("the batch over the limit is %s with %+v, want failed with token_limit_exceeded", full.Status, full.Errors)
	}
	g.CancelBatch(t, running.ID)
	g.WaitEnd(t, running.ID, time.Minute)
	fits := g.Submit(t, input(30))
	tidegatetest.Eventually(t, time.Minute, "the batch within the limit runs", func() bool { return g.Batch(t, fits.ID).Status == "in_progress" })
	file := g.Upload(t, "input.jsonl", input(1))
	status, answer, err := g.Call(t.Context(), http.MethodPost, "/v1/batches", "application/json", []byte(`{"input_file_id":"`+file.ID+`","endpoint":"/v1/chat/completions","completion_window":"24h"}`))
	if err != nil || status != http.StatusTooManyRequests || !bytes.Contains(answer, []byte("rate_limit_exceeded")) || !bytes.Contains(answer, []byte("batches_per_hour is 3")) {
		t.Errorf("the fourth batch got %d %s, %v; want 429", status, answer, err)
	}
}

// A batch of a limited key runs within its limit, slowly, and no line fails. Meanwhile a
// batch of another tenant is not slowed down.
func TestLimitedBatch(t *testing.T) {
	t.Parallel()
	const lines, limit = 66, 60
	sims := tidegatetest.StartSims(t, 2)
	g := runLimited(t, sims, "requests_per_minute "+strconv.Itoa(limit)+"\nrequests_in_flight 2\ntokens_per_minute 1000000", "")
	input := func(n int, prompt string) []byte {
		return tidegatetest.BatchInput(t, n, func(i int) string { return prompt + strconv.Itoa(i) })
	}
	slow := input(lines, "slow ")
	began := time.Now()
	limited := g.Submit(t, slow)
	g.APIKey = adminKey
	other := g.Submit(t, input(500, "other "))
	if b := g.WaitEnd(t, other.ID, time.Minute); b.Status != "completed" || b.RequestCounts.Failed != 0 {
		t.Errorf("the other batch is %s with %+v, want completed", b.Status, b.RequestCounts)
	}
	g.APIKey = limitedKey
	tidegatetest.Eventually(t, time.Minute, "the reason of the wait is shown", func() bool {
		var b struct {
			WaitReason *string `json:"wait_reason"`
		}
		g.Get(t, "/v1/batches/"+limited.ID, &b)
		return b.WaitReason != nil && *b.WaitReason == "limit of the key: requests_per_minute is "+strconv.Itoa(limit)
	})
	b := g.WaitEnd(t, limited.ID, time.Minute)
	if b.Status != "completed" || b.RequestCounts.Completed != lines {
		t.Errorf("the limited batch is %s with %+v, want %d completed lines", b.Status, b.RequestCounts, lines)
	}
	if took := time.Since(began); took < (lines-limit-1)*time.Minute/limit {
		t.Errorf("%d lines took %s, want one second for each beyond the limit of %d", lines, took, limit)
	}
	g.Results(t, b, slow)
	for id, calls := range tidegatetest.TotalCalls(t, sims...) {
		if calls.Finished != 1 {
			t.Errorf("request %s ran %d times, want 1", id, calls.Finished)
		}
	}
}

// The few lines of one tenant do not wait for the many of another.
func TestTenantsShareServers(t *testing.T) {
	t.Parallel()
	const many, few = 3000, 60
	sims := []*tidegatetest.Sim{tidegatetest.StartSim(t, "--ttft", "100ms", "--max-num-seqs", "16")}
	g := runLimited(t, sims, "lines_queued 1000000", "tenant default {\nweight 3\n}")
	input := func(n int, prompt string) []byte {
		return tidegatetest.BatchInput(t, n, func(i int) string { return prompt + strconv.Itoa(i) })
	}
	file := g.Upload(t, "many.jsonl", input(many, "many "))
	var batches []string
	for range 12 { // more than have a place, of the highest priority
		var b struct{ ID string }
		status, answer, err := g.Call(t.Context(), http.MethodPost, "/v1/batches", "application/json", []byte(`{"input_file_id":"`+file.ID+`","endpoint":"/v1/chat/completions","completion_window":"24h","priority":100}`))
		if err != nil || status != http.StatusOK || json.Unmarshal(answer, &b) != nil {
			t.Fatalf("got %d %s, %v; want a batch", status, answer, err)
		}
		batches = append(batches, b.ID)
	}
	tidegatetest.Eventually(t, time.Minute, "the first batch runs", func() bool { return g.Batch(t, batches[0]).RequestCounts.Completed > 0 })
	done := func() (n int64) {
		for _, id := range batches {
			n += g.Batch(t, id).RequestCounts.Completed
		}
		return n
	}
	before := done()
	g.APIKey = adminKey
	b := g.WaitEnd(t, g.Submit(t, input(few, "few ")).ID, time.Minute)
	g.APIKey = limitedKey
	// Without shares it would wait for all lines, which have the highest priority. How many
	// end meanwhile depends on the machine.
	most := int64(len(batches) * many / 4)
	if meanwhile := done() - before; b.Status != "completed" || meanwhile > most {
		t.Errorf("the small batch is %s after %d lines of the other tenant, want completed after at most %d", b.Status, meanwhile, most)
	}
}

// When the space of a tenant or of all is used up, a new batch is refused, in the API and on the
// dashboard, and a running one still writes its results. The test fails if a batch is accepted
// that could only write beyond the limit, or if results are refused.
func TestNoSpaceForResults(t *testing.T) {
	t.Parallel()
	for _, word := range []string{"max_stored_size", "max_total_stored_size"} {
		t.Run(word, func(t *testing.T) {
			t.Parallel()
			const limit = 10_000
			sims := []*tidegatetest.Sim{tidegatetest.StartSim(t)}
			g := tidegatetest.Run(t, tidegatetest.Settings{Sims: sims, Batch: word + " " + strconv.Itoa(limit) + "\ncollect_interval 100ms"})
			input := tidegatetest.BatchInput(t, 3, func(i int) string { return "line " + strconv.Itoa(i) })
			file := g.Upload(t, "in.jsonl", input)
			create := func(key string) (status int, answer string, id string) {
				t.Helper()
				r, err := g.Request(t.Context(), http.MethodPost, "/v1/batches", "application/json", []byte(`{"input_file_id":"`+file.ID+`","endpoint":"/v1/chat/completions","completion_window":"24h"}`))
				if err != nil {
					t.Fatal(err)
				}
				r.Header.Set("Idempotency-Key", key)
				got, err := http.DefaultClient.Do(r)
				if err != nil {
					t.Fatal(err)
				}
				defer got.Body.Close()
				text, err := io.ReadAll(got.Body)
				var b struct{ ID string }
				if err != nil || json.Unmarshal(text, &b) != nil {
					t.Fatalf("got %d %s, %v", got.StatusCode, text, err)
				}
				return got.StatusCode, string(text), b.ID
			}
			g.Drain(t, sims[0]) // its lines wait
			status, answer, running := create("first")
			if status != http.StatusOK {
				t.Fatalf("got %d %s for a batch that has space", status, answer)
			}
			filler := g.Upload(t, "filler.jsonl", []byte(`{"x":"`+strings.Repeat("x", limit-len(input)-9)+`"}`+"\n"))
			if status, answer, _ := create("second"); status != http.StatusInsufficientStorage || !strings.Contains(answer, "storage_limit_exceeded") || !strings.Contains(answer, word) || !strings.Contains(answer, "results of a new batch") {
				t.Errorf("a batch without space got %d %s, want 507 with the limit", status, answer)
			}
			if status, answer, id := create("first"); status != http.StatusOK || id != running {
				t.Errorf("the repetition of a batch got %d %s, want the batch", status, answer)
			}
			status, page, err := g.Call(t.Context(), http.MethodPost, "/dashboard/new", "application/x-www-form-urlencoded", []byte("file="+file.ID+"&endpoint=/v1/chat/completions&window=24h0m0s&priority=0"))
			if err != nil || status != http.StatusInsufficientStorage || !strings.Contains(string(page), word) {
				t.Errorf("the dashboard answers %d, %v: %.300s, want 507 with the limit", status, err, page)
			}
			g.Undrain(t, sims[0])
			g.Results(t, g.WaitEnd(t, running, time.Minute), input)
			if status, _, err := g.Call(t.Context(), http.MethodDelete, "/v1/files/"+filler.ID, "", nil); err != nil || status != http.StatusOK {
				t.Fatalf("deleting a file got %d, %v", status, err)
			}
			tidegatetest.Eventually(t, time.Minute, "a batch is accepted again", func() bool { status, _, _ := create("third"); return status == http.StatusOK })
		})
	}
}
