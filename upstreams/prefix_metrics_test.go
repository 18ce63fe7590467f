package upstreams

import (
	"context"
	"strings"
	"sync/atomic"
	"testing"

	"go.uber.org/zap"
)

// TestPredictionIsShown checks that a server's status has the blocks of the prompts
// sent there, and the predicted and the actual cached tokens of live requests.
func TestPredictionIsShown(t *testing.T) {
	onGPUs(t, []gpu{{slower: 1}}, func(t *testing.T, w *gpus) {
		var cached atomic.Int64
		w.proxy = NewProxy(w.pool, zap.NewNop(), func(_ context.Context, l LiveRequest) {
			cached.Add(l.Usage.InputTokensDetails.CachedTokens)
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
		if got.PredictedTokens == 0 || got.PredictedTokens > got.PromptTokens {
			t.Errorf("got %d predicted tokens of %d, want some and at most all", got.PredictedTokens, got.PromptTokens)
		}
	})
}
