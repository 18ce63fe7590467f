package vllmsim_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"

	"github.com/tidegate/tidegate/internal/vllmsim"
)

func decode[T any](t *testing.T, body string) T {
	t.Helper()
	var v T
	if err := json.Unmarshal([]byte(body), &v); err != nil {
		t.Fatalf("%s: %v", body, err)
	}
	return v
}

func TestSimRoutes(t *testing.T) {
	s := vllmsim.New(vllmsim.Config{APIKey: "secret", Startup: time.Hour})
	defer s.Close()
	open := vllmsim.New(vllmsim.Config{})
	defer open.Close()
	post(t, open, chatPath, chatWith("sim-id:a-1 one"))
	post(t, open, chatPath, chatWith("sim-id:a-1 two"))
	post(t, open, chatPath, chatWith("sim-id:a-1 two"))
	post(t, open, chatPath, chatWith("plain"))
	key := vllmsim.Key(chatPath, []byte(chatWith("plain")))

	all := decode[map[string]vllmsim.Calls](t, get(t, open, "/sim/calls").Body.String())
	if len(all) != 2 || all["a-1"] != (vllmsim.Calls{Received: 3, Finished: 3}) || all[key] != (vllmsim.Calls{Received: 1, Finished: 1}) {
		t.Errorf("all calls: %v", all)
	}
	for path, want := range map[string]int64{"/sim/calls?marker=a-1": 3, "/sim/calls?key=" + key: 1, "/sim/calls?marker=none": 0, "/sim/calls?key=" + strings.Repeat("0", 32): 0} {
		if got := decode[vllmsim.Calls](t, get(t, open, path).Body.String()); got.Received != want {
			t.Errorf("%s: %+v", path, got)
		}
	}
	for prefix, want := range map[string]int{"a": 1, "a-1": 1, "a-2": 0, "b": 0, key: 0} { // only names that requests have given themselves
		got := decode[map[string]vllmsim.Calls](t, get(t, open, "/sim/calls?prefix="+prefix).Body.String())
		if len(got) != want || want == 1 && got["a-1"].Received != 3 {
			t.Errorf("names that begin with %q: got %v, want %d", prefix, got, want)
		}
	}
	if got := decode[vllmsim.Calls](t, post(t, open, "/sim/calls", `{"key":"a-1"}`).Body.String()); got.Received != 3 {
		t.Errorf("POST /sim/calls: %+v", got)
	}
	if w := post(t, open, "/sim/calls", `{`); w.Code != http.StatusBadRequest {
		t.Errorf("POST /sim/calls with half a body: %d", w.Code)
	}
	stats := decode[vllmsim.Stats](t, get(t, open, "/sim/stats").Body.String())
	if want := (vllmsim.Stats{Requests: 4, Finished: 4, Calls: 4, Distinct: 3, Repeated: 1, MaxRunning: 1}); stats != want || stats != open.Stats() {
		t.Errorf("stats %+v, want %+v", stats, want)
	}
	if w := post(t, open, "/sim/reset", ""); w.Code != http.StatusNoContent || open.Stats() != (vllmsim.Stats{}) || len(open.AllCalls()) != 0 {
		t.Errorf("after reset: %d, %+v", w.Code, open.Stats())
	}
	if w := get(t, open, "/sim/nothing"); w.Code != http.StatusNotFound {
		t.Errorf("unknown route: %d", w.Code)
	}
	if w := get(t, s, "/sim/stats"); w.Code != http.StatusOK {
		t.Errorf("stats while the model loads: %d", w.Code)
	}
}

func TestSharedLedger(t *testing.T) {
	ledger := vllmsim.NewLedger()
	a, b := vllmsim.New(vllmsim.Config{Ledger: ledger}), vllmsim.New(vllmsim.Config{Ledger: ledger})
	defer a.Close()
	defer b.Close()
	body := chatWith("sim-id:x [[sim:status=503,times=1]]")
	if first, second := post(t, a, chatPath, body).Code, post(t, b, chatPath, body).Code; first != 503 || second != 200 {
		t.Errorf("answers %d and %d", first, second)
	}
	if got := ledger.Calls("x"); got != (vllmsim.Calls{Received: 2, Finished: 1}) {
		t.Errorf("calls %+v", got)
	}
}

// families parses /metrics as Prometheus does.
func families(t *testing.T, s *vllmsim.Server) map[string]float64 {
	t.Helper()
	w := get(t, s, "/metrics")
	parser := expfmt.NewTextParser(model.LegacyValidation)
	all, err := parser.TextToMetricFamilies(w.Body)
	if err != nil {
		t.Fatal(err)
	}
	values := map[string]float64{}
	for name, family := range all {
		for _, m := range family.GetMetric() {
			labels := map[string]string{}
			for _, l := range m.GetLabel() {
				labels[l.GetName()] = l.GetValue()
			}
			// Settings have the label of the engine, not of the model.
			wantEngine, wantModel := "0", `org/"a"`
			switch name {
			case "vllm:cache_config_info":
				wantModel = ""
			case "vllm:admission_rejections_total":
				wantEngine = ""
			case "process_start_time_seconds":
				wantEngine, wantModel = "", ""
			}
			if labels["engine"] != wantEngine || labels["model_name"] != wantModel {
				t.Errorf("%s has labels %v", name, labels)
			}
			key := name
			for _, label := range []string{"finished_reason", "reason", "sleep_state", "source"} {
				if value := labels[label]; value != "" {
					key += "/" + value
				}
			}
			switch {
			case m.Histogram != nil:
				values[key+"_count"] = float64(m.Histogram.GetSampleCount())
				values[key+"_sum"] = m.Histogram.GetSampleSum()
				if n := len(m.Histogram.GetBucket()); n < 10 || m.Histogram.GetBucket()[n-1].GetCumulativeCount() != m.Histogram.GetSampleCount() {
					t.Errorf("%s has buckets %v", name, m.Histogram.GetBucket())
				}
			case m.Counter != nil:
				values[key] = m.Counter.GetValue()
			case m.Gauge != nil:
				values[key] = m.Gauge.GetValue()
			default:
				t.Errorf("%s is of type %s", name, family.GetType())
			}
		}
	}
	return values
}

func TestMetrics(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := vllmsim.New(vllmsim.Config{Models: []string{`org/"a"`, "sim"}, TTFT: ttft, ITL: itl, MaxNumSeqs: 2})
		defer s.Close()
		prompt := 0
		for _, body := range []string{
			`{"model":"sim","messages":[{"role":"user","content":"[[sim:tokens=11]][[sim:gap=1s]] a prompt that is long enough to have a part of it in the cache, as blocks of sixteen"}]}`,
			`{"model":"sim","max_tokens":6,"stream":true,"messages":[{"role":"user","content":"x"}]}`,
		} {
			prompt += (len(body) + 3) / 4
			post(t, s, chatPath, body)
		}
		post(t, s, chatPath, chatWith("[[sim:status=500]]"))
		prompt += (len(`{"model":"sim","input":"x"}`) + 3) / 4
		post(t, s, "/v1/embeddings", `{"model":"sim","input":"x"}`)

		ctx, leave := context.WithCancel(t.Context())
		var clients sync.WaitGroup
		for range 3 {
			clients.Go(func() {
				defer func() { wantAbort(t, recover()) }()
				postContext(ctx, s, chatPath, chatWith("[[sim:hang]]"))
			})
		}
		synctest.Wait()
		got := families(t, s)
		for name, want := range map[string]float64{
			"vllm:num_requests_running": 2, "vllm:num_requests_waiting": 1, "vllm:kv_cache_usage_perc": 0.75,
			"vllm:prompt_tokens_total": float64(prompt), "vllm:generation_tokens_total": 17, "vllm:num_preemptions_total": 0,
			"vllm:prefix_cache_queries_total": float64(prompt), "vllm:prefix_cache_hits_total": 16,
			"vllm:request_success_total/stop": 2, "vllm:request_success_total/length": 1, "vllm:request_success_total/abort": 0, "vllm:request_success_total/error": 1,
			"vllm:time_to_first_token_seconds_count": 2, "vllm:time_to_first_token_seconds_sum": 0.4,
			"vllm:inter_token_latency_seconds_count": 15, "vllm:inter_token_latency_seconds_sum": 1.15,
			"vllm:time_per_output_token_seconds_count": 15,
			"vllm:e2e_request_latency_seconds_count":   3, "vllm:e2e_request_latency_seconds_sum": 1.75,
			"vllm:request_queue_time_seconds_count": 3,
		} {
			if v, ok := got[name]; !ok || v < want-1e-9 || v > want+1e-9 {
				t.Errorf("%s is %v (%t), want %v", name, v, ok, want)
			}
		}
		leave()
		clients.Wait()
		if got := families(t, s); got["vllm:request_success_total/abort"] != 3 || got["vllm:num_requests_running"] != 0 || got["vllm:num_requests_waiting"] != 0 {
			t.Errorf("after the clients left: %v", got)
		}
	})
}

// TestCountsAddUp checks that every call ends in exactly one way.
func TestCountsAddUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := vllmsim.New(vllmsim.Config{TTFT: time.Millisecond, ITL: time.Millisecond, MaxNumSeqs: 8, Seed: 7, Faults: map[vllmsim.Fault]float64{
			vllmsim.FaultStatus503: 0.1, vllmsim.FaultCut: 0.1, vllmsim.FaultCutMid: 0.1, vllmsim.FaultHang: 0.05, vllmsim.FaultHangMid: 0.05, vllmsim.FaultTruncated: 0.1, vllmsim.FaultSlow: 0.1,
		}})
		client := serve(t, s)
		var clients sync.WaitGroup
		var mu sync.Mutex
		var whole, failed int64
		for c := range 32 {
			clients.Go(func() {
				for i := range 20 {
					body := chatWith(fmt.Sprintf("%d/%d", c, i/2))
					if i%3 == 0 {
						body = streamed(body)
					}
					// Some leave in the middle of what others wait for.
					ctx, leave := context.WithTimeout(t.Context(), time.Duration(1+(c*20+i)%200)*10*time.Millisecond)
					resp, text, err := exchange(ctx, client, chatPath, body)
					leave()
					ok := err == nil && resp.StatusCode == 200 && (strings.HasSuffix(text, "[DONE]\n\n") || i%3 != 0 && text == mustExpect(t, body))
					mu.Lock()
					if ok {
						whole++
					} else {
						failed++
					}
					mu.Unlock()
				}
			})
		}
		clients.Wait()
		synctest.Wait()
		got := s.Stats()
		if got.Running+got.Waiting+got.Rejected != 0 || got.Finished+got.Aborted+got.Faulted != got.Calls || got.MaxRunning > 8 {
			t.Errorf("stats %+v", got)
		}
		// A client may give up just as its answer is written.
		if got.Finished < whole || got.Finished > whole+failed/4 || got.Aborted == 0 || got.Faulted == 0 || whole == 0 {
			t.Errorf("%d whole answers, %d others; stats %+v", whole, failed, got)
		}
		var sum vllmsim.Calls
		for _, c := range s.AllCalls() {
			sum.Received += c.Received
			sum.Finished += c.Finished
			sum.Aborted += c.Aborted
		}
		if sum != (vllmsim.Calls{Received: got.Calls, Finished: got.Finished, Aborted: got.Aborted}) {
			t.Errorf("calls come to %+v, stats are %+v", sum, got)
		}
	})
}

// lastWrite notes the stats at the write that ends an answer, or fails there.
type lastWrite struct {
	*httptest.ResponseRecorder
	s    *vllmsim.Server
	fail error
	seen vllmsim.Stats
}

func (w *lastWrite) Write(p []byte) (int, error) {
	if bytes.HasSuffix(p, []byte("[DONE]\n\n")) || bytes.HasSuffix(p, []byte("}")) {
		w.seen = w.s.Stats()
		if w.fail != nil {
			return 0, w.fail
		}
	}
	return w.ResponseRecorder.Write(p)
}

// An answer is counted before its last byte can be read, and not at all if
// that byte cannot be sent.
func TestCountedBeforeTheEnd(t *testing.T) {
	for _, body := range []string{chatWith("sim-id:x"), streamed(chatWith("sim-id:x"))} {
		s := vllmsim.New(vllmsim.Config{})
		defer s.Close()
		r := httptest.NewRequestWithContext(t.Context(), http.MethodPost, chatPath, strings.NewReader(body))
		r.Header.Set("Content-Type", "application/json")
		w := &lastWrite{ResponseRecorder: httptest.NewRecorder(), s: s}
		s.ServeHTTP(w, r)
		if w.seen.Finished != 1 || w.seen.Running != 0 {
			t.Errorf("before the last byte of %s: %+v", body, w.seen)
		}

		r = httptest.NewRequestWithContext(t.Context(), http.MethodPost, chatPath, strings.NewReader(body))
		r.Header.Set("Content-Type", "application/json")
		w = &lastWrite{ResponseRecorder: httptest.NewRecorder(), s: s, fail: errors.New("broken pipe")}
		func() {
			defer func() { wantAbort(t, recover()) }()
			s.ServeHTTP(w, r)
		}()
		if got := s.Stats(); got.Finished != 1 || got.Aborted != 1 || s.Calls("x") != (vllmsim.Calls{Received: 2, Finished: 1, Aborted: 1}) {
			t.Errorf("after an answer that was not sent: %+v, %+v", got, s.Calls("x"))
		}
	}
}

// A client that goes away while it sends is no call.
func TestClientLeavesWhileSending(t *testing.T) {
	s := vllmsim.New(vllmsim.Config{})
	defer s.Close()
	defer func() {
		wantAbort(t, recover())
		if got := s.Stats(); got.Calls != 0 || got.Requests != 1 {
			t.Errorf("stats %+v", got)
		}
	}()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, chatPath, brokenReader{})
	if err != nil {
		t.Fatal(err)
	}
	s.ServeHTTP(nil, r)
}

type brokenReader struct{}

func (brokenReader) Read([]byte) (int, error) { return 0, errors.New("connection reset by peer") }
