package engine_test

import (
	"testing"

	"github.com/tidegate/tidegate/batch"
	"github.com/tidegate/tidegate/batch/batchtest"
)

// BenchmarkEngine runs batches against a pool that answers at once: what the
// engine itself costs, store and files included.
func BenchmarkEngine(b *testing.B) {
	const lines = 20_000
	h := newHarness(b, batch.Config{})
	h.Open()
	fileID := h.Upload(batchtest.Input(lines))
	for b.Loop() {
		h.Wait(h.Create(fileID))
	}
	b.ReportMetric(float64(lines*b.N)/b.Elapsed().Seconds(), "lines/s")
}
