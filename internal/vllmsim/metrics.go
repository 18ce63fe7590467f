package vllmsim

import (
	"fmt"
	"strings"
	"sync"
	"time"
)

// metrics are what GET /metrics tells, in the names, labels and buckets of
// vllm/v1/metrics/loggers.py (https://docs.vllm.ai/en/latest/usage/metrics/).
type metrics struct {
	labels string // engine and model_name, as prometheus_client orders them

	mu                       sync.Mutex // guards what follows
	prompt, generation       float64    // tokens
	cacheQueries, cacheHits  float64    // tokens
	stop, length, abort, bad float64    // requests by finished_reason
	ttft, itl, tpot          histogram
	endToEnd, queued         histogram
	steps                    histogram // tokens of an iteration
	stepped                  time.Time // when steps was counted last
}

// stepTime is how long a simulated iteration of the engine takes.
const stepTime = 10 * time.Millisecond

var (
	stepBuckets    = []float64{1, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096, 8192, 16384}
	ttftBuckets    = []float64{0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10, 20, 40, 80, 160, 640, 2560}
	tokenBuckets   = []float64{0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1, 2.5, 5, 7.5, 10, 20, 40, 80}
	requestBuckets = []float64{0.3, 0.5, 0.8, 1, 1.5, 2, 2.5, 5, 10, 15, 20, 30, 40, 50, 60, 120, 240, 480, 960, 1920, 7680}
)

func newMetrics(model string) *metrics {
	escaped := strings.NewReplacer(`\`, `\\`, `"`, `\"`, "\n", `\n`).Replace(model)
	return &metrics{
		labels: `engine="0",model_name="` + escaped + `"`,
		ttft:   newHistogram(ttftBuckets), itl: newHistogram(tokenBuckets), tpot: newHistogram(tokenBuckets),
		endToEnd: newHistogram(requestBuckets), queued: newHistogram(requestBuckets), steps: newHistogram(stepBuckets),
		stepped: time.Now(),
	}
}

// finished says how a request went that was answered.
type finished struct {
	answer            *answer
	generates         bool
	queued, ttft, all time.Duration // since it came
	itl, gap          time.Duration // as configured: tokens are not timed one by one
}

func (m *metrics) finish(f finished) {
	a := f.answer
	m.mu.Lock()
	defer m.mu.Unlock()
	m.prompt += float64(a.prompt)
	m.cacheQueries += float64(a.prompt)
	m.cacheHits += float64(a.cached)
	m.generation += float64(a.completion())
	if a.cut {
		m.length++
	} else {
		m.stop++
	}
	m.queued.observe(f.queued.Seconds(), 1)
	m.endToEnd.observe(f.all.Seconds(), 1)
	if !f.generates {
		return
	}
	m.ttft.observe(f.ttft.Seconds(), 1)
	gaps := a.tokens - 1
	for _, h := range []*histogram{&m.itl, &m.tpot} {
		if n := gaps - 1; f.gap > 0 && gaps > 0 {
			h.observe(f.itl.Seconds(), n)
			h.observe((f.itl + f.gap).Seconds(), 1)
			continue
		}
		h.observe(f.itl.Seconds(), gaps)
	}
}

func (m *metrics) aborted() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.abort++
}

func (m *metrics) failed() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.bad++
}

// The simulated KV cache.
const (
	cacheBlocks    = 8192
	cacheBlockSize = 16 // tokens
)

// appendSettings writes the metric by which vLLM tells the settings of its KV
// cache (https://docs.vllm.ai/en/latest/design/metrics.html#cache-config-info).
func appendSettings(dst []byte, cfg Config) []byte {
	caching := "True"
	if cfg.NoPrefixCaching {
		caching = "False"
	}
	const name = "vllm:cache_config_info"
	dst = appendFamily(dst, name, "gauge", "Information of the LLMEngine CacheConfig.")
	labels := fmt.Sprintf(`block_size="%d",cache_dtype="auto",enable_prefix_caching="%s",engine="0",gpu_memory_utilization="0.9",num_gpu_blocks="%d"`,
		cacheBlockSize, caching, cacheBlocks)
	return appendSample(dst, name, labels, 1)
}

// step counts the iterations since it was called last, in each of which every
// request that makes progress had a token. m.mu is held.
func (m *metrics) step(progressing int) {
	n := int(time.Since(m.stepped) / stepTime)
	m.stepped = m.stepped.Add(time.Duration(n) * stepTime)
	if progressing > 0 {
		m.steps.observe(float64(progressing), n)
	}
}

// appendText writes all metrics in Prometheus' text format 0.0.4. Of the running
// requests hung make no progress.
func (m *metrics) appendText(dst []byte, running, waiting, hung, limit int) []byte {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.step(running - hung)
	gauge := func(name, help string, v float64) {
		dst = appendFamily(dst, name, "gauge", help)
		dst = appendSample(dst, name, m.labels, v)
	}
	counter := func(name, help string, v float64) {
		dst = appendFamily(dst, name+"_total", "counter", help)
		dst = appendSample(dst, name+"_total", m.labels, v)
	}
	gauge("vllm:num_requests_running", "Number of requests in model execution batches.", float64(running))
	gauge("vllm:num_requests_waiting", "Number of requests waiting to be processed.", float64(waiting))
	gauge("vllm:kv_cache_usage_perc", "KV-cache usage. 1 means 100 percent usage.", float64(running)/float64(limit))
	counter("vllm:prefix_cache_queries", "Prefix cache queries, in terms of number of queried tokens.", m.cacheQueries)
	counter("vllm:prefix_cache_hits", "Prefix cache hits, in terms of number of cached tokens.", m.cacheHits)
	counter("vllm:num_preemptions", "Cumulative number of preemption from the engine.", 0)
	counter("vllm:prompt_tokens", "Number of prefill tokens processed.", m.prompt)
	counter("vllm:generation_tokens", "Number of generation tokens processed.", m.generation)

	const success = "vllm:request_success_total"
	dst = appendFamily(dst, success, "counter", "Count of successfully processed requests.")
	for _, r := range []struct {
		reason string
		n      float64
	}{{"stop", m.stop}, {"length", m.length}, {"abort", m.abort}, {"error", m.bad}} {
		// engine, finished_reason, model_name: prometheus_client sorts.
		labels := strings.Replace(m.labels, ",", `,finished_reason="`+r.reason+`",`, 1)
		dst = appendSample(dst, success, labels, r.n)
	}

	dst = m.steps.appendText(dst, "vllm:iteration_tokens_total", "Histogram of number of tokens per engine_step.", m.labels)
	dst = m.ttft.appendText(dst, "vllm:time_to_first_token_seconds", "Histogram of time to first token in seconds.", m.labels)
	dst = m.itl.appendText(dst, "vllm:inter_token_latency_seconds", "Histogram of inter-token latency in seconds.", m.labels)
	dst = m.tpot.appendText(dst, "vllm:time_per_output_token_seconds", "Histogram of time per output token in seconds.", m.labels)
	dst = m.endToEnd.appendText(dst, "vllm:e2e_request_latency_seconds", "Histogram of e2e request latency in seconds.", m.labels)
	return m.queued.appendText(dst, "vllm:request_queue_time_seconds", "Histogram of time spent in WAITING phase for request.", m.labels)
}
