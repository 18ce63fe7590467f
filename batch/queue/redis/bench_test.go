package redis

import (
	"testing"
)

// BenchmarkPush pushes a batch of 50,000 lines in slices of 64.
func BenchmarkPush(b *testing.B) {
	q := open(b, Config{Server: serverOf(b, shared), Prefix: prefix()})
	numbers := upTo(782)
	for b.Loop() {
		must(b, q.Push(b.Context(), aBatch, numbers))
		must(b, q.Drop(b.Context(), aBatch))
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*len(numbers)), "ns/slice")
}

// BenchmarkPopDone takes a slice and reports it done.
func BenchmarkPopDone(b *testing.B) {
	q := open(b, Config{Server: serverOf(b, shared), Prefix: prefix()})
	for b.Loop() {
		numbers, err := q.Pop(b.Context(), aBatch, 1)
		must(b, err)
		if len(numbers) == 0 {
			b.StopTimer()
			must(b, q.Push(b.Context(), aBatch, upTo(10_000)))
			b.StartTimer()
			continue
		}
		must(b, q.Done(b.Context(), aBatch, numbers))
	}
}

// BenchmarkMemory reports the server's memory per slice, while it is queued and while it
// is claimed.
func BenchmarkMemory(b *testing.B) {
	const slices = 10_000
	cfg := Config{Server: serverOf(b, shared), Prefix: prefix()}
	q := open(b, cfg)
	usage := func() float64 {
		return float64(do(b, shared, "MEMORY", "USAGE", cfg.stream(aBatch), "SAMPLES", "0").(int64)) / slices
	}
	for b.Loop() {
		must(b, q.Push(b.Context(), aBatch, upTo(slices)))
		b.ReportMetric(usage(), "queued-B/slice")
		if _, err := q.Pop(b.Context(), aBatch, slices); err != nil {
			b.Fatal(err)
		}
		b.ReportMetric(usage(), "popped-B/slice")
		must(b, q.Drop(b.Context(), aBatch))
	}
}
