package engine_test

import (
	"testing"

	"github.com/tidegate/tidegate/batch"
)

// BenchmarkEngine runs batches against a pool that answers at once: what the
// engine itself costs, store and files included.
func BenchmarkEngine(b *testing.B) {
	const lines = 20_000
	h := newHouse(b, batch.Config{})
	h.open()
	fileID := h.upload(input(lines))
	for b.Loop() {
		h.wait(h.create(fileID))
	}
	b.ReportMetric(float64(lines*b.N)/b.Elapsed().Seconds(), "lines/s")
}
