package upstreams

import (
	"math"
	"time"
)

// Buckets of a histogram grow by a fifth each, so that what is read from it is
// at most a tenth off: from 100 µs on, and over 5 minutes at the end.
const (
	histogramFirst   = 100 * time.Microsecond
	histogramGrowth  = 1.2
	histogramBuckets = 84
)

// histogram counts durations.
type histogram struct {
	buckets [histogramBuckets]uint32
	n       int64
}

func (h *histogram) add(d time.Duration) {
	i := 0
	if d > histogramFirst {
		i = int(math.Ceil(math.Log(float64(d)/float64(histogramFirst)) / math.Log(histogramGrowth)))
	}
	h.buckets[min(i, histogramBuckets-1)]++
	h.n++
}

func (h *histogram) merge(o *histogram) {
	if o.n == 0 {
		return
	}
	for i, n := range o.buckets {
		h.buckets[i] += n
	}
	h.n += o.n
}

// quantile gives the duration that a part q of all does not exceed.
func (h *histogram) quantile(q float64) time.Duration {
	rank := int64(math.Ceil(q * float64(h.n)))
	var seen int64
	for i, n := range h.buckets {
		if seen += int64(n); n > 0 && seen >= rank {
			// The middle of a bucket whose ends lie a fifth apart.
			return time.Duration(float64(histogramFirst) * math.Pow(histogramGrowth, float64(i)-0.5))
		}
	}
	return 0
}

func (h *histogram) latency() Latency {
	return Latency{N: h.n, P50: h.quantile(0.5), P95: h.quantile(0.95)}
}
