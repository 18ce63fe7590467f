package upstreams

import "github.com/prometheus/client_golang/prometheus"

// PrefixStatus describes the predicted contents of the prefix cache of a server, and
// how the prediction compares with the server's answers to live requests.
type PrefixStatus struct {
	// Blocks is the number of predicted blocks of 256 bytes, Capacity their maximum.
	// A block takes about 100 bytes of memory.
	Blocks   int `json:"blocks"`
	Capacity int `json:"capacity"`
	// PromptTokens, PredictedTokens and CachedTokens are sums over the live requests
	// for which the server reported cached tokens: tokens of their prompts, those
	// predicted to be cached, and those that were.
	PromptTokens    int64 `json:"prompt_tokens"`
	PredictedTokens int64 `json:"predicted_tokens"`
	CachedTokens    int64 `json:"cached_tokens"`
}

// status returns the current state of the prediction.
func (x *prefixes) status() PrefixStatus {
	s := PrefixStatus{PromptTokens: x.compared.Load(), PredictedTokens: x.predictedTokens.Load(), CachedTokens: x.cachedTokens.Load()}
	s.Blocks, s.Capacity = x.Len()
	return s
}

var (
	descPrefixBlocks   = prometheus.NewDesc("tidegate_upstream_prefix_blocks", "Blocks of 256 bytes of prompts that are predicted to be in the prefix cache of the upstream.", []string{"upstream"}, nil)
	descPrefixCapacity = prometheus.NewDesc("tidegate_upstream_prefix_blocks_max", "Maximum number of predicted blocks: the capacity of the prefix cache of the upstream, as reported or assumed, corrected by its answers.", []string{"upstream"}, nil)
	descPrefixTokens   = prometheus.NewDesc("tidegate_upstream_prefix_tokens_total", "Prompt tokens of live requests for which the upstream reported cached tokens: prompt (all), predicted and cached (parts of prompt).", []string{"upstream", "kind"}, nil)
	descPrefixHits     = prometheus.NewDesc("tidegate_upstream_model_prompt_tokens_total", "Prompt tokens of the model's requests that the upstream answered, once it has reported cached tokens: prompt (all), and cached (part of prompt).", []string{"upstream", "model", "class", "kind"}, nil)
)

var prefixDescs = []*prometheus.Desc{descPrefixBlocks, descPrefixCapacity, descPrefixTokens, descPrefixHits}

// collectPrefixes collects the prediction of the prefix cache of an upstream.
func collectPrefixes(u *UpstreamStatus, gauge func(d *prometheus.Desc, v float64, labels ...string), counter func(d *prometheus.Desc, v int64, labels ...string)) {
	gauge(descPrefixBlocks, float64(u.Prefixes.Blocks), u.URL)
	gauge(descPrefixCapacity, float64(u.Prefixes.Capacity), u.URL)
	counter(descPrefixTokens, u.Prefixes.PromptTokens, u.URL, "prompt")
	counter(descPrefixTokens, u.Prefixes.PredictedTokens, u.URL, "predicted")
	counter(descPrefixTokens, u.Prefixes.CachedTokens, u.URL, "cached")
}

// collectHits collects the tokens of prompts that were in the prefix caches of upstreams.
func (m *metrics) collectHits(counter func(d *prometheus.Desc, v int64, labels ...string)) {
	s := m.pool.now.Load()
	label := m.labeller(len(s.models))
	for _, u := range s.upstreams {
		for _, c := range u.hitCounts(label) {
			counter(descPrefixHits, c.prompt, u.url, c.model, c.class, "prompt")
			counter(descPrefixHits, c.cached, u.url, c.model, c.class, "cached")
		}
	}
}
