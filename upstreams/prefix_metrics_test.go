package upstreams

import (
	"context"
	"fmt"
	"maps"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"
)

// TestPredictionIsShown checks that a server's status has the blocks of the prompts
// sent there, the predicted and the actual cached tokens of live requests, and the latter by
// model and class. It has all series about prefixes, by name.
func TestPredictionIsShown(t *testing.T) {
	onGPUs(t, []gpu{{slower: 1}}, func(t *testing.T, w *gpus) {
		var cached, prompts atomic.Int64
		w.proxy = NewProxy(w.pool, zap.NewNop(), func(_ context.Context, l LiveRequest) {
			cached.Add(l.Usage.InputTokensDetails.CachedTokens)
			if l.Usage.InputTokensDetails.CachedTokens > 0 { // the first answer does not have the member
				prompts.Add(l.Usage.InputTokens)
			}
		})
		body := `{"model":"` + model + `","stream":true,"stream_options":{"include_usage":true},"max_tokens":8,"messages":[{"role":"user","content":"` + strings.Repeat("the same text ", 600) + `"}]}`
		for range 3 {
			w.sendOverlapping(t, body)
		}
		got := w.pool.Status()[0].Prefixes
		if got.Blocks < 30 || got.Blocks > got.Capacity || got.Capacity > prefixMost {
			t.Errorf("got %d blocks of %d, want at least 30 and no more than fit", got.Blocks, got.Capacity)
		}
		if got.CachedTokens != cached.Load() || got.CachedTokens == 0 {
			t.Errorf("got %d cached tokens, want %d", got.CachedTokens, cached.Load())
		}
		slot, err := w.pool.Reserve(model, "")
		if err != nil {
			t.Fatal(err)
		}
		answer, err := slot.Send(t.Context(), endpoint, []byte(strings.Replace(body, `"stream":true,"stream_options":{"include_usage":true},`, "", 1)))
		slot.Release()
		if err != nil {
			t.Fatal(err)
		}
		usage, _ := findUsage(answer.Body)
		line, linePrompt := float64(usage.InputTokensDetails.CachedTokens), float64(usage.InputTokens)
		if line == 0 {
			t.Fatalf("the line has no cached tokens: %+v", usage)
		}
		// Labels are in the order of their names.
		of := func(classAndKind string) string {
			class, kind, _ := strings.Cut(classAndKind, " ")
			return fmt.Sprintf("tidegate_upstream_model_prompt_tokens_total %s %s %s http://0", class, kind, model)
		}
		got = w.pool.Status()[0].Prefixes
		wantPrefixMetrics(t, w.pool, map[string]float64{
			"tidegate_upstream_prefix_blocks http://0":                 float64(got.Blocks),
			"tidegate_upstream_prefix_blocks_max http://0":             float64(got.Capacity),
			"tidegate_upstream_prefix_tokens_total prompt http://0":    float64(got.PromptTokens),
			"tidegate_upstream_prefix_tokens_total predicted http://0": float64(got.PredictedTokens),
			"tidegate_upstream_prefix_tokens_total cached http://0":    float64(got.CachedTokens),
			of("live cached"):  float64(cached.Load()),
			of("live prompt"):  float64(prompts.Load()),
			of("batch cached"): line,
			of("batch prompt"): linePrompt,
		})
		if got.PredictedTokens == 0 || got.PredictedTokens > got.PromptTokens {
			t.Errorf("got %d predicted tokens of %d, want some and at most all", got.PredictedTokens, got.PromptTokens)
		}
	})
}

// wantPrefixMetrics checks the series about prefixes, by name and values of labels.
func wantPrefixMetrics(t *testing.T, p *Pool, want map[string]float64) {
	t.Helper()
	registry := prometheus.NewPedanticRegistry()
	if err := registry.Register(p.Collector()); err != nil {
		t.Fatal(err)
	}
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	got := make(map[string]float64)
	for _, f := range families {
		if !strings.HasPrefix(f.GetName(), "tidegate_upstream_prefix_") && f.GetName() != "tidegate_upstream_model_prompt_tokens_total" {
			continue
		}
		for _, m := range f.GetMetric() {
			name := f.GetName()
			for _, l := range m.GetLabel() {
				name += " " + l.GetValue()
			}
			got[name] = m.GetGauge().GetValue() + m.GetCounter().GetValue()
		}
	}
	if !maps.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}
