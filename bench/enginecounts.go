package main

import (
	"context"
	"fmt"
	"time"
)

// engineCounts are sums over the servers of a fleet, as their metrics have them.
type engineCounts struct {
	Requests    float64 `json:"requests"` // that were answered
	Prompt      float64 `json:"prompt_tokens"`
	Cached      float64 `json:"cached_tokens"`   // of the prompts, found in the prefix cache
	Computed    float64 `json:"computed_tokens"` // of the prompts
	Generated   float64 `json:"generated_tokens"`
	Queries     float64 `json:"cache_queries"` // tokens looked up in the prefix cache
	Hits        float64 `json:"cache_hits"`
	Preemptions float64 `json:"preemptions"`
	Steps       float64 `json:"step_tokens"` // prompt and decode tokens of all steps

	// Recomputed is the number of tokens that were computed again after preemptions.
	// They are not in Computed.
	Recomputed float64 `json:"recomputed_tokens"`
}

// names are the metrics of a server, and where their values are added.
func (c *engineCounts) names() map[string]*float64 {
	return map[string]*float64{
		"vllm:request_prompt_tokens_count":            &c.Requests,
		"vllm:prompt_tokens_total":                    &c.Prompt,
		"vllm:prompt_tokens_cached_total":             &c.Cached,
		"vllm:request_prefill_kv_computed_tokens_sum": &c.Computed,
		"vllm:generation_tokens_total":                &c.Generated,
		"vllm:prefix_cache_queries_total":             &c.Queries,
		"vllm:prefix_cache_hits_total":                &c.Hits,
		"vllm:num_preemptions_total":                  &c.Preemptions,
		"vllm:iteration_tokens_total_sum":             &c.Steps,
	}
}

// subtract subtracts earlier counts of the same servers.
func (c *engineCounts) subtract(earlier *engineCounts) {
	before := earlier.names()
	for name, value := range c.names() {
		*value -= *before[name]
	}
	c.Recomputed -= earlier.Recomputed
}

// hitRate is the part of the prompt tokens that was found in the prefix cache.
func (c engineCounts) hitRate() float64 { return c.Cached / c.Prompt }

// settle derives Recomputed. A prefill generates the first token of its
// sequence, so that the decodes are the other tokens. A preempted sequence has
// one more prefill.
func (c *engineCounts) settle() {
	decodes := c.Generated - c.Requests - c.Preemptions
	c.Recomputed = max(0, c.Steps-decodes-c.Computed)
}

// countsWait limits how long counts waits for the metrics, which are behind the
// answers by some tenths of a second.
const countsWait = 30 * time.Second

// counts returns the counts once the servers have answered so many requests and
// no other is in flight.
func (f fleet) counts(ctx context.Context, requests int) (engineCounts, error) {
	deadline := time.Now().Add(countsWait)
	for {
		c, busy, err := f.countsNow(ctx)
		if err != nil {
			return c, err
		}
		if busy == 0 && c.Requests >= float64(requests) {
			return c, nil
		}
		if time.Now().After(deadline) {
			return c, fmt.Errorf("the servers have answered %.0f requests and have %.0f in flight, want %d and none", c.Requests, busy, requests)
		}
		if err := pause(ctx, 50*time.Millisecond); err != nil {
			return c, err
		}
	}
}

// countsNow returns the counts and the number of unfinished requests.
func (f fleet) countsNow(ctx context.Context) (c engineCounts, busy float64, err error) {
	for _, sim := range f {
		m, err := metrics(ctx, sim.addr)
		if err != nil {
			return c, 0, err
		}
		add := func(name string, to *float64) {
			v, missing := m.of(name)
			*to += v
			if err == nil {
				err = missing
			}
		}
		for name, to := range c.names() {
			add(name, to)
		}
		add("vllm:num_requests_running", &busy)
		add("vllm:num_requests_waiting", &busy)
		if err != nil {
			return c, 0, err
		}
	}
	c.settle()
	return c, busy, nil
}
