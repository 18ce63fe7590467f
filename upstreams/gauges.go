package upstreams

import (
	"bytes"
	"strconv"
)

// gauges are the metrics of a server, summed over its engines.
type gauges struct {
	present          bool
	running, waiting float64 // requests
	kvCache          float64 // part of the KV cache in use, 0 to 1; the maximum over the engines

	// Counters.
	preempts     float64 // requests that were preempted
	hasTokens    bool    // prompt and generated were found
	prompt       float64 // tokens of prompts
	generated    float64 // tokens
	steps        float64 // of the engine
	queried      float64 // prompt tokens that were looked up in the prefix cache
	hits         float64 // of these, tokens that were found
	prefillTime  float64 // seconds from the first step of a request to its first token, of requests that ended
	prefills     float64 // number of requests in prefillTime
	prompts      float64 // prompt tokens of these
	computed     float64 // of these, tokens that were not cached; not reported by all versions
	intervalTime float64 // seconds between tokens of a request
	intervals    float64 // number of intervals in intervalTime
	firsts       float64 // requests that have returned their first token

	oldQueried, oldHits float64 // queried and hits by their previous names
}

// gaugeReaders parse vLLM's metrics, by name
// (https://docs.vllm.ai/en/latest/usage/metrics/).
var gaugeReaders = map[string]func(*gauges, float64){
	"vllm:num_requests_running": func(g *gauges, v float64) { g.running += v },
	"vllm:num_requests_waiting": func(g *gauges, v float64) { g.waiting += v },
	"vllm:kv_cache_usage_perc":  func(g *gauges, v float64) { g.kvCache = max(g.kvCache, v) },
	"vllm:gpu_cache_usage_perc": func(g *gauges, v float64) { g.kvCache = max(g.kvCache, v) }, // before 0.9

	"vllm:num_preemptions_total":                  func(g *gauges, v float64) { g.preempts += v },
	"vllm:prompt_tokens_total":                    func(g *gauges, v float64) { g.prompt += v; g.hasTokens = true },
	"vllm:generation_tokens_total":                func(g *gauges, v float64) { g.generated += v; g.hasTokens = true },
	"vllm:iteration_tokens_total_count":           func(g *gauges, v float64) { g.steps += v },
	"vllm:prefix_cache_queries_total":             func(g *gauges, v float64) { g.queried += v },
	"vllm:prefix_cache_hits_total":                func(g *gauges, v float64) { g.hits += v },
	"vllm:gpu_prefix_cache_queries_total":         func(g *gauges, v float64) { g.oldQueried += v }, // 0.10 has both names
	"vllm:gpu_prefix_cache_hits_total":            func(g *gauges, v float64) { g.oldHits += v },
	"vllm:request_prompt_tokens_sum":              func(g *gauges, v float64) { g.prompts += v },
	"vllm:request_prefill_kv_computed_tokens_sum": func(g *gauges, v float64) { g.computed += v },
	"vllm:request_prefill_time_seconds_sum":       func(g *gauges, v float64) { g.prefillTime += v },
	"vllm:request_prefill_time_seconds_count":     func(g *gauges, v float64) { g.prefills += v },
	"vllm:inter_token_latency_seconds_sum":        func(g *gauges, v float64) { g.intervalTime += v },
	"vllm:inter_token_latency_seconds_count":      func(g *gauges, v float64) { g.intervals += v },
	"vllm:time_to_first_token_seconds_count":      func(g *gauges, v float64) { g.firsts += v },
}

var metricPrefix = []byte("vllm:")

// parseMetrics extracts the metrics and the settings of a server from Prometheus'
// text format, in one pass. Unknown lines are skipped.
func parseMetrics(body []byte) (g gauges, f Facts) {
	for len(body) > 0 {
		var line []byte
		line, body, _ = bytes.Cut(body, newline)
		if !bytes.HasPrefix(line, metricPrefix) {
			continue
		}
		end := bytes.IndexAny(line, "{ ")
		if end < 0 || f.parse(line[:end], line[end:]) {
			continue
		}
		read := gaugeReaders[string(line[:end])]
		if read == nil {
			continue
		}
		if value, ok := sampleValue(line[end:]); ok {
			g.present = true
			read(&g, value)
		}
	}
	g.queried, g.hits = max(g.queried, g.oldQueried), max(g.hits, g.oldHits)
	g.oldQueried, g.oldHits = 0, 0
	return g, f
}

// engine returns the metrics that change with each engine step.
func (g *gauges) engine() engineFigures {
	return engineFigures{g.running, g.waiting, g.preempts, g.prompt + g.generated, g.steps, g.queried, g.kvCache}
}

var newline = []byte{'\n'}

// sampleValue parses the part of a line after the metric's name: labels, the value,
// and optionally a timestamp.
func sampleValue(rest []byte) (float64, bool) {
	if i := bytes.LastIndexByte(rest, '}'); i >= 0 {
		rest = rest[i+1:]
	}
	field, _, _ := bytes.Cut(bytes.TrimSpace(rest), []byte{' '})
	value, err := strconv.ParseFloat(string(field), 64)
	return value, err == nil && value >= 0 && value < 1e15 // neither NaN nor infinite
}
