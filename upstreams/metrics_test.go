package upstreams

import (
	"slices"
	"strings"
	"testing"

	"github.com/tidegate/tidegate/internal/metricstest"
)

func TestParseGauges(t *testing.T) {
	for name, tt := range map[string]struct {
		text string
		want gauges
	}{
		"nothing":     {"", gauges{}},
		"other names": {"# HELP x\nvllm:num_requests_running_total{a=\"b\"} 3\npython_info 1\n", gauges{}},
		"vLLM's": {`# HELP vllm:num_requests_running Number of requests in model execution batches.
# TYPE vllm:num_requests_running gauge
vllm:num_requests_running{engine="0",model_name="m"} 3.0
vllm:num_requests_waiting{engine="0",model_name="m"} 5.0
vllm:kv_cache_usage_perc{engine="0",model_name="m"} 0.25
`, gauges{present: true, running: 3, waiting: 5, kvCache: .25}},
		"counters":          {"vllm:prompt_tokens_total 7\nvllm:generation_tokens_total 5\nvllm:num_preemptions_total 2\nvllm:prompt_tokens_created 9\n", gauges{present: true, hasTokens: true, prompt: 7, generated: 5, preempts: 2}},
		"times":             {"vllm:request_prefill_time_seconds_sum{engine=\"0\"} 1.5\nvllm:request_prefill_time_seconds_count 3\nvllm:inter_token_latency_seconds_sum 2\nvllm:inter_token_latency_seconds_count 80\n", gauges{present: true, prefillTime: 1.5, prefills: 3, intervalTime: 2, intervals: 80}},
		"two engines":       {"vllm:num_requests_running{engine=\"0\"} 3\nvllm:num_requests_running{engine=\"1\"} 4\nvllm:kv_cache_usage_perc{engine=\"0\"} 0.5\nvllm:kv_cache_usage_perc{engine=\"1\"} 0.25\n", gauges{present: true, running: 7, waiting: 0, kvCache: .5}},
		"the older name":    {"vllm:gpu_cache_usage_perc{model_name=\"a } b\"} 0.75 1700000000000\n", gauges{present: true, running: 0, waiting: 0, kvCache: .75}},
		"both names":        {"vllm:gpu_prefix_cache_queries_total 70\nvllm:gpu_prefix_cache_hits_total 30\nvllm:prefix_cache_queries_total 70\nvllm:prefix_cache_hits_total 30\n", gauges{present: true, queried: 70, hits: 30}},
		"an old name only":  {"vllm:gpu_prefix_cache_queries_total 70\nvllm:gpu_prefix_cache_hits_total 30\n", gauges{present: true, queried: 70, hits: 30}},
		"without labels":    {"vllm:num_requests_waiting 2\r\n", gauges{present: true, running: 0, waiting: 2, kvCache: 0}},
		"not a number":      {"vllm:num_requests_waiting NaN\nvllm:num_requests_running +Inf\nvllm:kv_cache_usage_perc x\nvllm:kv_cache_usage_perc\n", gauges{}},
		"cut off":           {"vllm:num_requests_waiting 2\nvllm:num_requests_runn", gauges{present: true, running: 0, waiting: 2, kvCache: 0}},
		"below what can be": {"vllm:num_requests_waiting -2\n", gauges{}},
	} {
		if got, _ := parseMetrics([]byte(tt.text)); got != tt.want {
			t.Errorf("%s: %+v, want %+v", name, got, tt.want)
		}
	}
}

// TestParseMetricsOnce checks that figures and settings are found on one page, in any order.
func TestParseMetricsOnce(t *testing.T) {
	lines := []string{
		"# TYPE vllm:cache_config_info gauge",
		`vllm:cache_config_info{block_size="16",enable_prefix_caching="True",engine="0",num_gpu_blocks="100"} 1.0`,
		`vllm:num_requests_running{engine="0"} 3`,
		`vllm:cache_config_info{block_size="16",enable_prefix_caching="True",engine="1",num_gpu_blocks="100"} 1.0`,
		"vllm:cache_config_info_total 7",
		`vllm:vllm_config_info{scheduler_config_max_num_seqs="8",scheduler_config_policy="fcfs"} 1.0`,
		`vllm:num_requests_waiting{engine="0"} 2`,
	}
	wantGauges := gauges{present: true, running: 3, waiting: 2}
	wantFacts := Facts{PrefixCaching: "True", Blocks: 100, BlockSize: 16, Scheduling: "fcfs", MaxNumSeqs: 8, Engines: 2}
	for _, end := range []string{"\n", "\r\n"} {
		for range 2 {
			g, f := parseMetrics([]byte(strings.Join(lines, end) + end))
			if g != wantGauges || f != wantFacts {
				t.Errorf("got %+v and %+v, want %+v and %+v", g, f, wantGauges, wantFacts)
			}
			slices.Reverse(lines)
		}
	}
}

func TestCollector(t *testing.T) {
	f, h := newFake(t, model, "n"), newFake(t)
	set(&f.serve, streamed(sseEvent, sseDone))
	set(&h.serve, streamed(sseEvent, sseDone))
	p := startPool(t, calm(f.URL, h.URL))
	g := newGateway(t, p)
	g.post(t, "/v1/chat/completions", chatBody(model)).wantOK(t, sseEvent+sseDone)
	g.post(t, "/v1/chat/completions", chatBody("nope"))
	slot := reserve(t, p, f.URL)
	defer slot.Release()
	if err := p.Drain(f.URL); err != nil {
		t.Fatal(err)
	}
	g.post(t, "/v1/chat/completions", chatBody("n")).wantError(t, 503, "")
	g.recorded(t, 3)
	got := metricstest.Gather(t, p.Collector())
	for name, want := range map[string]float64{
		"tidegate_upstream_up{upstream=" + h.URL + "}":                             1,
		"tidegate_upstream_state{state=up,upstream=" + h.URL + "}":                 1,
		"tidegate_upstream_state{state=down,upstream=" + h.URL + "}":               0,
		"tidegate_upstream_requests_in_flight{class=batch,upstream=" + h.URL + "}": 1,
		"tidegate_upstream_requests_in_flight{class=live,upstream=" + h.URL + "}":  0,
		"tidegate_upstream_batch_limit{upstream=" + h.URL + "}":                    256,
		"tidegate_upstream_requests_total{class=batch,upstream=" + h.URL + "}":     1,
		"tidegate_model_servers{model=m}":                                          2,
		"tidegate_model_servers_available{model=m}":                                1,
		"tidegate_model_problem{model=m,problem=no_server}":                        0,
		"tidegate_model_problem{model=n,problem=no_server}":                        1,
		"tidegate_model_live_requests_total{model=m}":                              1,
		"tidegate_model_live_failures_total{model=m}":                              0,
		"tidegate_model_live_requests_total{model=}":                               1,
		"tidegate_model_live_failures_total{model=}":                               0,
		"tidegate_model_live_failures_total{model=n}":                              1,
		"tidegate_live_retries_total{}":                                            0,
		"tidegate_live_requests_total{code=2xx,endpoint=/v1/chat/completions}":     1,
		"tidegate_live_requests_total{code=4xx,endpoint=/v1/chat/completions}":     1,
		"tidegate_live_request_duration_seconds{endpoint=/v1/chat/completions}":    3,
		"tidegate_live_time_to_first_token_seconds{endpoint=/v1/chat/completions}": 1,
	} {
		if have, there := got[name]; !there || have != want {
			t.Errorf("%s is %v (%v), want %v", name, have, there, want)
		}
	}
}
