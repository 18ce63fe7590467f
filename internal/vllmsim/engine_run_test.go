package vllmsim_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"regexp"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tidegate/tidegate/internal/vllmsim"
	"github.com/tidegate/tidegate/internal/vllmsim/engine"
)

// gpu is a configuration with an engine.
func gpu(change func(*vllmsim.Config)) vllmsim.Config {
	spec := engine.Specs["h100-8b"]
	cfg := vllmsim.Config{Engine: &spec, MetricsLag: -1}
	if change != nil {
		change(&cfg)
	}
	return cfg
}

// ofTokens is a chat of exactly so many prompt tokens that asks for an answer of
// so many.
func ofTokens(letter byte, prompt, generate int) string {
	return padded(letter, prompt, chatWith(fmt.Sprintf("[[sim:tokens=%d]]", generate)))
}

// padded makes a body with a marker as long as so many tokens.
func padded(letter byte, prompt int, body string) string {
	return strings.Replace(body, `[[`, strings.Repeat(string(letter), 4*prompt-len(body))+`[[`, 1)
}

func cachedTokens(t *testing.T, body string) int {
	t.Helper()
	var answer struct {
		Usage struct {
			PromptTokensDetails struct {
				CachedTokens int `json:"cached_tokens"`
			} `json:"prompt_tokens_details"`
		}
	}
	if err := json.Unmarshal([]byte(body), &answer); err != nil {
		t.Fatalf("%v in %s", err, body)
	}
	return answer.Usage.PromptTokensDetails.CachedTokens
}

// Times follow from the constants of the engine: 7.5 ms a step, 10 µs a decode,
// 40 ns a token of context, 20,480 prompt tokens a second.
func TestEngineTimes(t *testing.T) {
	// 32.5 ms for a prompt of 512, 99 steps of 7.51 ms, 513 to 611 tokens of context.
	const want = 32500*time.Microsecond + 743490*time.Microsecond + 55638*40*time.Nanosecond
	for _, stream := range []bool{false, true} {
		for _, speed := range []float64{1, 4} {
			t.Run(fmt.Sprintf("stream=%t, speed=%g", stream, speed), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					s := vllmsim.New(gpu(func(c *vllmsim.Config) { c.Speed = speed }))
					defer s.Close()
					body := chatWith("[[sim:tokens=100]]")
					if stream {
						body = streamed(body)
					}
					body = padded('a', 512, body)
					start := time.Now()
					if w := post(t, s, chatPath, body); w.Code != http.StatusOK {
						t.Fatalf("status %d: %s", w.Code, w.Body)
					}
					got := time.Since(start)
					if ratio := float64(got) * speed / float64(want); ratio < 0.9999 || ratio > 1.0001 {
						t.Errorf("took %s, want %s divided by %g", got, want, speed)
					}
				})
			})
		}
	}
}

// A stream has one event for each token, at the end of its step.
func TestEngineStreamsTokens(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := vllmsim.New(gpu(nil))
		client := serve(t, s)
		start := time.Now()
		resp, err := send(t.Context(), client, chatPath, streamed(chatWith("[[sim:tokens=6]]")))
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		if got := time.Since(start); got != 0 {
			t.Errorf("the header of a stream comes after %s, want at once", got)
		}
		at := arrivals(t, resp.Body, start)
		if len(at) != 7 || at[0] != at[1] { // the role comes with the first token
			t.Fatalf("events at %s", at)
		}
		for i := 2; i < len(at); i++ {
			if step := at[i] - at[i-1]; step < 7510*time.Microsecond || step > 7520*time.Microsecond {
				t.Errorf("token %d came %s after the one before it, want a step of 7.51 ms", i, step)
			}
		}
	})
}

// cached is the only part of an answer that the engine decides.
var cached = regexp.MustCompile(`"cached_tokens":\d+`)

// TestEngineAnswersAsExpected checks that the answer is the same with an engine of any speed.
func TestEngineAnswersAsExpected(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := vllmsim.New(gpu(nil))
		defer s.Close()
		for path, body := range map[string]string{
			chatPath:            chatWith(strings.Repeat("hello there ", 20)),
			"/v1/completions":   `{"model":"sim","prompt":["a","b"],"n":2,"max_tokens":5}`,
			"/v1/embeddings":    `{"model":"sim","input":["x","y"]}`,
			"/v1/responses":     `{"model":"sim","input":"x"}`,
			"/v1/messages":      `{"model":"sim","max_tokens":9,"messages":[{"role":"user","content":"x"}]}`,
			"/v1/rerank":        `{"model":"sim","query":"x","documents":["a","b"]}`,
			chatPath + "?x=n=3": `{"model":"sim","n":3,"messages":[{"role":"user","content":"y"}]}`,
		} {
			plain, _, _ := strings.Cut(path, "?")
			want, err := vllmsim.ExpectedOf(vllmsim.NewerVersion, plain, []byte(body))
			if err != nil {
				t.Fatal(err)
			}
			got := post(t, s, path, body)
			if got.Code != http.StatusOK || cached.ReplaceAllString(got.Body.String(), "") != cached.ReplaceAllString(string(want), "") {
				t.Errorf("%s answers %d: %s\nwant %s", path, got.Code, got.Body, want)
			}
		}
		if got := s.Stats(); got.Finished != 7 || got.Running != 0 {
			t.Errorf("at last %+v", got)
		}
	})
}

func TestEngineCachedTokens(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := vllmsim.New(gpu(nil))
		defer s.Close()
		system := strings.Repeat("You answer briefly. ", 20)
		ask := func(question string) int {
			body := `{"model":"sim","temperature":0,"messages":[{"role":"system","content":"` + system + `"},{"role":"user","content":"` + question + `"}]}`
			return cachedTokens(t, post(t, s, chatPath, body).Body.String())
		}
		if got := ask("one"); got != 0 {
			t.Errorf("%d cached at first, want 0", got)
		}
		shared := len(`{"role":"system","content":"` + system + `"},{"role":"user","content":"`)
		want := shared / 64 * 16
		if got := ask("two"); got != want {
			t.Errorf("%d cached of a shared prefix, want %d", got, want)
		}
	})
}

func TestEngineAbortFreesThePlace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := vllmsim.New(gpu(func(c *vllmsim.Config) { c.MaxNumSeqs = 1 }))
		defer s.Close()
		ctx, leave := context.WithCancel(t.Context())
		left := make(chan struct{})
		go func() {
			defer close(left)
			defer func() { wantAbort(t, recover()) }()
			postContext(ctx, s, chatPath, chatWith("[[sim:tokens=100000]]"))
		}()
		time.Sleep(time.Second)
		if got := s.Stats(); got.Running != 1 {
			t.Errorf("before: %+v", got)
		}
		leave()
		<-left
		time.Sleep(8 * time.Millisecond) // a step
		if got := s.Stats(); got.Running != 0 || got.Aborted != 1 {
			t.Errorf("after: %+v", got)
		}
		if got := post(t, s, chatPath, chatWith("next")); got.Code != http.StatusOK {
			t.Errorf("status %d", got.Code)
		}
	})
}

func TestEngineFull(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := vllmsim.New(gpu(func(c *vllmsim.Config) { c.MaxQueuedReqs, c.Models = 2, []string{`org/"a"`, "sim"} }))
		defer s.Close()
		ended := make(chan int, 2)
		for range 2 {
			go func() { ended <- post(t, s, chatPath, chatWith("x")).Code }()
		}
		synctest.Wait()
		start := time.Now()
		got := post(t, s, chatPath, streamed(chatWith("y")))
		if got.Code != http.StatusServiceUnavailable || !strings.Contains(got.Body.String(), "The engine is currently busy") || time.Since(start) != 0 {
			t.Errorf("a third is answered %d after %s: %s", got.Code, time.Since(start), got.Body)
		}
		for range 2 {
			if code := <-ended; code != http.StatusOK {
				t.Errorf("status %d", code)
			}
		}
		if got := families(t, s)["vllm:admission_rejections_total/max_num_queued_reqs"]; got != 1 {
			t.Errorf("admission_rejections_total is %v, want 1", got)
		}
	})
}

// TestEngineContextLength checks that the context length also limits the answer.
func TestEngineContextLength(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := vllmsim.New(gpu(func(c *vllmsim.Config) { c.MaxModelLen = 100 }))
		defer s.Close()
		got := post(t, s, chatPath, chatWith(strings.Repeat("x", 400)))
		if got.Code != http.StatusBadRequest || !strings.Contains(got.Body.String(), "maximum context length is 100 tokens") {
			t.Errorf("a long prompt is answered %d: %s", got.Code, got.Body)
		}
		got = post(t, s, chatPath, ofTokens('x', 60, 100))
		if want := `"usage":{"prompt_tokens":60,"total_tokens":100,"completion_tokens":40,`; !strings.Contains(got.Body.String(), want) || !strings.Contains(got.Body.String(), `"finish_reason":"length"`) {
			t.Errorf("a long answer is %s, want %s", got.Body, want)
		}
	})
}

func TestEngineMetrics(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := vllmsim.New(gpu(func(c *vllmsim.Config) { c.Models, c.MaxNumSeqs = []string{`org/"a"`, "sim"}, 2 }))
		defer s.Close()
		post(t, s, chatPath, ofTokens('a', 512, 100))
		post(t, s, chatPath, ofTokens('a', 512, 11)) // 496 of 512 are cached
		got := families(t, s)
		for name, want := range map[string]float64{
			"vllm:num_requests_running": 0, "vllm:num_requests_waiting": 0, "vllm:kv_cache_usage_perc": 0,
			"vllm:prompt_tokens_total": 1024, "vllm:prompt_tokens_cached_total": 496, "vllm:generation_tokens_total": 111,
			"vllm:prefix_cache_queries_total": 1024, "vllm:prefix_cache_hits_total": 496,
			"vllm:request_success_total/stop": 2, "vllm:num_preemptions_total": 0,
			"vllm:iteration_tokens_total_count": 111, "vllm:iteration_tokens_total_sum": 512 + 16 + 99 + 10,
			"vllm:time_to_first_token_seconds_count": 2, "vllm:time_to_first_token_seconds_sum": 0.0325 + 0.00828125,
			"vllm:inter_token_latency_seconds_count":           109,
			"vllm:request_time_per_output_token_seconds_count": 2,
			"vllm:request_queue_time_seconds_sum":              0,
			"vllm:request_prompt_tokens_sum":                   1024, "vllm:request_generation_tokens_sum": 111, "vllm:request_generation_tokens_count": 2,
			"vllm:request_inference_time_seconds_count":           2,
			"vllm:request_prefill_time_seconds_sum":               0.0325 + 0.00828125,
			"vllm:request_decode_time_seconds_sum":                0.74349 + 55638*40e-9 + 0.0751 + 5175*40e-9,
			"vllm:num_requests_waiting_by_reason/capacity":        0,
			"vllm:engine_sleep_state/awake":                       1,
			"vllm:prompt_tokens_by_source_total/local_compute":    528,
			"vllm:admission_rejections_total/max_num_queued_reqs": 0,
		} {
			if v, ok := got[name]; !ok || v < want-1e-6 || v > want+1e-6 {
				t.Errorf("%s is %v (%t), want %v", name, v, ok, want)
			}
		}
		for _, gone := range []string{"vllm:time_per_output_token_seconds_count", "vllm:gpu_cache_usage_perc"} {
			if v, ok := got[gone]; ok {
				t.Errorf("%s is %v, want none", gone, v)
			}
		}

		ctx, leave := context.WithCancel(t.Context())
		left := make(chan struct{})
		for range 3 {
			go func() {
				defer func() { wantAbort(t, recover()); left <- struct{}{} }()
				postContext(ctx, s, chatPath, ofTokens('b', 1600, 1000))
			}()
		}
		time.Sleep(time.Second)
		got = families(t, s)
		if got["vllm:num_requests_running"] != 2 || got["vllm:num_requests_waiting"] != 1 || got["vllm:num_requests_waiting_by_reason/capacity"] != 1 {
			t.Errorf("with three requests for two places: %v", got)
		}
		// The two share 99 whole blocks of the prompt and have a few of their own.
		if v, most := got["vllm:kv_cache_usage_perc"], 140.0/25000; v < 101.0/25000 || v > most {
			t.Errorf("kv_cache_usage_perc is %v, want between 101 blocks and %v", v, most)
		}
		leave()
		for range 3 {
			<-left
		}
		if got := families(t, s)["vllm:request_success_total/abort"]; got != 3 {
			t.Errorf("%v aborts, want 3", got)
		}
	})
}

func TestMetricsLag(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := vllmsim.New(gpu(func(c *vllmsim.Config) { c.MetricsLag, c.Models = time.Second, []string{`org/"a"`, "sim"} }))
		defer s.Close()
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			post(t, s, chatPath, chatWith("[[sim:tokens=300]]")) // 2.3 s
		}()
		time.Sleep(990 * time.Millisecond)
		if got := families(t, s); got["vllm:num_requests_running"] != 0 || got["vllm:generation_tokens_total"] != 0 {
			t.Errorf("/metrics is ahead of its lag: %v running, %v tokens", got["vllm:num_requests_running"], got["vllm:generation_tokens_total"])
		}
		time.Sleep(1010 * time.Millisecond)
		if got := families(t, s); got["vllm:num_requests_running"] != 1 || got["vllm:generation_tokens_total"] < 100 || got["vllm:generation_tokens_total"] > 132 {
			t.Errorf("after 2 s: %v running, %v tokens; want 1 and those of the first second", got["vllm:num_requests_running"], got["vllm:generation_tokens_total"])
		}
		<-ended
		time.Sleep(time.Second)
		if got := families(t, s); got["vllm:num_requests_running"] != 0 || got["vllm:generation_tokens_total"] != 300 {
			t.Errorf("at rest: %v running, %v tokens", got["vllm:num_requests_running"], got["vllm:generation_tokens_total"])
		}
	})
}

// A priority needs an engine that schedules by it.
func TestEnginePriority(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, enabled := range []bool{true, false} {
			s := vllmsim.New(gpu(func(c *vllmsim.Config) { c.PriorityScheduling, c.MaxNumSeqs = enabled, 1 }))
			defer s.Close()
			body := `{"model":"sim","priority":-1,"messages":[{"role":"user","content":"x"}]}`
			if !enabled {
				if got := post(t, s, chatPath, body); got.Code != http.StatusBadRequest {
					t.Errorf("status %d without priority scheduling", got.Code)
				}
				continue
			}
			order := make(chan string, 3)
			for _, request := range []struct{ name, body string }{{"running", chatWith("a")}, {"early", chatWith("b")}, {"urgent", body}} {
				go func() {
					post(t, s, chatPath, request.body)
					order <- request.name
				}()
				time.Sleep(10 * time.Millisecond)
			}
			if got := fmt.Sprint(<-order, <-order, <-order); got != "runningurgentearly" {
				t.Errorf("ended in order %s", got)
			}
		}
	})
}
