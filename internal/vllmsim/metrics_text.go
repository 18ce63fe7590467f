package vllmsim

import (
	"fmt"
	"strings"
	"time"
)

// The simulated KV cache without an engine.
const (
	cacheBlocks    = 8192
	cacheBlockSize = 16 // tokens
	// kvFull is the part that is in use when as many requests run as may: a server is
	// usually started so that they have room.
	kvFull = 0.75
)

// metricsLabels are those of most metrics: engine and model_name, as
// prometheus_client orders them.
func metricsLabels(model string) string {
	return `engine="0",model_name="` + strings.NewReplacer(`\`, `\\`, `"`, `\"`, "\n", `\n`).Replace(model) + `"`
}

// appendSettings writes the metric with which vLLM reports the settings of its KV
// cache (https://docs.vllm.ai/en/latest/design/metrics.html#cache-config-info).
func appendSettings(dst []byte, cfg Config) []byte {
	caching, blocks, size := "True", cacheBlocks, cacheBlockSize
	if cfg.NoPrefixCaching {
		caching = "False"
	}
	if cfg.Engine != nil {
		blocks, size = cfg.Engine.KVTokens/cfg.Engine.BlockSize, cfg.Engine.BlockSize
	}
	const name = "vllm:cache_config_info"
	dst = appendFamily(dst, name, "gauge", "Information of the LLMEngine CacheConfig.")
	labels := fmt.Sprintf(`block_size="%d",cache_dtype="auto",enable_prefix_caching="%s",engine="0",gpu_memory_utilization="0.9",num_gpu_blocks="%d"`,
		size, caching, blocks)
	return appendSample(dst, name, labels, 1)
}

// page writes metrics in Prometheus' text format 0.0.4.
type page struct {
	text   []byte
	labels string
}

func (p *page) gauge(name, help string, v float64) {
	p.text = appendFamily(p.text, name, "gauge", help)
	p.text = appendSample(p.text, name, p.labels, v)
}

func (p *page) counter(name, help string, v float64) {
	p.text = appendFamily(p.text, name+"_total", "counter", help)
	p.text = appendSample(p.text, name+"_total", p.labels, v)
}

func (p *page) histogram(h *histogram, name, help string) {
	p.text = h.appendText(p.text, name, help, p.labels)
}

// labelled is a value of a metric with one more label.
type labelled struct {
	value string
	v     float64
}

// family writes a metric whose series differ in one label. The labels stay in
// alphabetical order, as prometheus_client writes them.
func (p *page) family(name, typ, help, label string, series ...labelled) {
	p.text = appendFamily(p.text, name, typ, help)
	engine, model, _ := strings.Cut(p.labels, ",")
	for _, s := range series {
		own := label + `="` + s.value + `"`
		labels := engine + "," + model + "," + own
		if label < "model_name" {
			labels = engine + "," + own + "," + model
		}
		p.text = appendSample(p.text, name, labels, s.v)
	}
}

// appendText writes a reading in the names of one version of vLLM.
func (r *reading) appendText(dst []byte, labels string, newer bool, began time.Time) []byte {
	p := page{text: dst, labels: labels}
	p.gauge("vllm:num_requests_running", "Number of requests in model execution batches.", float64(r.running))
	p.gauge("vllm:num_requests_waiting", "Number of requests waiting to be processed.", float64(r.waiting))
	p.gauge("vllm:kv_cache_usage_perc", "KV-cache usage. 1 means 100 percent usage.", r.kvUsage)
	p.counter("vllm:prefix_cache_queries", "Prefix cache queries, in terms of number of queried tokens.", r.cacheQueries)
	p.counter("vllm:prefix_cache_hits", "Prefix cache hits, in terms of number of cached tokens.", r.cacheHits)
	p.counter("vllm:num_preemptions", "Cumulative number of preemption from the engine.", float64(r.preemptions))
	p.counter("vllm:prompt_tokens", "Number of prefill tokens processed.", r.prompt)
	p.counter("vllm:generation_tokens", "Number of generation tokens processed.", r.generation)
	p.family("vllm:request_success_total", "counter", "Count of successfully processed requests.", "finished_reason",
		labelled{"stop", r.stop}, labelled{"length", r.length}, labelled{"abort", r.abort}, labelled{"error", r.bad})
	p.histogram(&r.steps, "vllm:iteration_tokens_total", "Histogram of number of tokens per engine_step.")
	p.histogram(&r.ttft, "vllm:time_to_first_token_seconds", "Histogram of time to first token in seconds.")
	p.histogram(&r.itl, "vllm:inter_token_latency_seconds", "Histogram of inter-token latency in seconds.")
	if newer {
		p.histogram(&r.tpot, "vllm:request_time_per_output_token_seconds", "Histogram of time_per_output_token_seconds per request.")
	} else {
		p.histogram(&r.tpot, "vllm:time_per_output_token_seconds", "Histogram of time per output token in seconds.")
	}
	p.histogram(&r.endToEnd, "vllm:e2e_request_latency_seconds", "Histogram of e2e request latency in seconds.")
	p.histogram(&r.queued, "vllm:request_queue_time_seconds", "Histogram of time spent in WAITING phase for request.")
	if newer {
		p.newer(r, began)
	}
	return p.text
}

// newer writes the metrics that vLLM 0.32 has and 0.11 does not.
func (p *page) newer(r *reading, began time.Time) {
	p.family("vllm:num_requests_waiting_by_reason", "gauge", "Number of waiting requests by reason.", "reason",
		labelled{"capacity", float64(r.waiting)}, labelled{"deferred", 0})
	p.family("vllm:engine_sleep_state", "gauge", "Engine sleep state; awake = 1 means engine is awake.", "sleep_state",
		labelled{"awake", 1}, labelled{"weights_offloaded", 0}, labelled{"discard_all", 0})
	p.counter("vllm:prompt_tokens_cached", "Number of cached prompt tokens (local + external).", r.cached)
	p.family("vllm:prompt_tokens_by_source_total", "counter", "Number of prompt tokens by source.", "source",
		labelled{"local_compute", r.prompt - r.cached}, labelled{"local_cache_hit", r.cached}, labelled{"external_kv_transfer", 0})
	p.histogram(&r.prefill, "vllm:request_prefill_time_seconds", "Histogram of time spent in PREFILL phase for request.")
	p.histogram(&r.inference, "vllm:request_inference_time_seconds", "Histogram of time spent in RUNNING phase for request.")
	p.histogram(&r.prompts, "vllm:request_prompt_tokens", "Number of prefill tokens processed.")
	p.histogram(&r.computed, "vllm:request_prefill_kv_computed_tokens", "Histogram of new KV tokens computed during prefill (excluding cached tokens).")
	p.histogram(&r.generations, "vllm:request_generation_tokens", "Number of generation tokens processed.")
	p.histogram(&r.decode, "vllm:request_decode_time_seconds", "Histogram of time spent in DECODE phase for request.")

	const rejections = "vllm:admission_rejections_total" // has no engine
	_, model, _ := strings.Cut(p.labels, ",")
	p.text = appendFamily(p.text, rejections, "counter", "Number of admission attempts rejected by a queue limit, by reason.")
	p.text = appendSample(p.text, rejections, model+`,reason="max_num_queued_reqs"`, r.rejected)
	p.text = appendSample(p.text, rejections, model+`,reason="max_num_queued_tokens"`, 0)

	const start = "process_start_time_seconds" // has no labels
	p.text = appendFamily(p.text, start, "gauge", "Start time of the process since unix epoch in seconds.")
	p.text = append(p.text, start+" "...)
	p.text = append(p.text, pythonFloat(float64(began.UnixMilli())/1e3)...)
	p.text = append(p.text, '\n')
}
