package scheduler

import (
	"maps"
	"sync"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/tidegate/tidegate/batch"
	"github.com/tidegate/tidegate/internal/modellabel"
	"github.com/tidegate/tidegate/internal/openai"
)

// lineBuckets range from a small embedding to the longest answer, in seconds.
var lineBuckets = []float64{.05, .1, .25, .5, 1, 2.5, 5, 10, 20, 40, 80, 160, 320, 640, 1280}

// lineMetrics are the durations and tokens of lines by model on this gateway. Series begin
// with the first durable result of a model.
type lineMetrics struct {
	labels    modellabel.Set
	durations *prometheus.HistogramVec

	mu     sync.Mutex
	tokens map[string]openai.Usage // guarded by mu; by label
	ended  map[string]LineTokens   // guarded by mu; of lines that completed, by label
}

func newLineMetrics() *lineMetrics {
	return &lineMetrics{
		durations: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "tidegate_batch_line_duration_seconds", Help: "Time from sending a batch line to the end of its answer, of completed lines, last attempt only, by model.", Buckets: lineBuckets,
		}, []string{"model"}),
		tokens: make(map[string]openai.Usage),
		ended:  make(map[string]LineTokens),
	}
}

// durable counts a result that has become durable.
func (m *lineMetrics) durable(r *batch.LineResult) {
	model := m.labels.Of(r.Model)
	if !r.Failed {
		m.durations.WithLabelValues(model).Observe(r.Duration.Seconds())
	}
	if r.Usage == (openai.Usage{}) {
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	sum := m.tokens[model]
	sum.Add(r.Usage)
	m.tokens[model] = sum
	if !r.Failed {
		t := m.ended[model]
		m.ended[model] = LineTokens{t.Lines + 1, t.Input + r.Usage.InputTokens, t.Output + r.Usage.OutputTokens}
	}
}

// perLine returns the tokens of lines that completed, by the model's label.
func (m *lineMetrics) perLine() map[string]LineTokens {
	m.mu.Lock()
	defer m.mu.Unlock()
	return maps.Clone(m.ended)
}

// Tokens returns the tokens of lines that this gateway has made durable, by model; models
// beyond modellabel.Limit are modellabel.Other.
func (m *Metrics) Tokens() map[string]openai.Usage {
	m.lines.mu.Lock()
	defer m.lines.mu.Unlock()
	return maps.Clone(m.lines.tokens)
}

// LineTokens counts the tokens of lines that have ended.
type LineTokens struct{ Lines, Input, Output int64 }

// Known reports whether there are lines whose tokens are known.
func (t LineTokens) Known() bool { return t.Lines > 0 && t.Input+t.Output > 0 }

// TokensPerLine returns the tokens of lines that completed, by the model's label.
func (m *Metrics) TokensPerLine() map[string]LineTokens { return m.lines.perLine() }

// ModelLabels returns the labels of models.
func (m *Metrics) ModelLabels() *modellabel.Set { return &m.lines.labels }
