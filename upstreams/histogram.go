package upstreams

import (
	"math"
	"time"
)

// The buckets of a histogram grow by a tenth each, from 100 µs to more than 5
// minutes.
const (
	histogramFirst   = 100 * time.Microsecond
	histogramGrowth  = 1.1
	histogramBuckets = 160
)

// histogram counts durations. The zero value is empty.
type histogram struct {
	buckets  [histogramBuckets]uint32
	n        int64
	min, max time.Duration // of all durations; 0 if n is 0
}

func (h *histogram) add(d time.Duration) {
	i := 0
	if d > histogramFirst {
		i = int(math.Ceil(math.Log(float64(d)/float64(histogramFirst)) / math.Log(histogramGrowth)))
	}
	h.buckets[min(i, histogramBuckets-1)]++
	h.widen(d, d)
	h.n++
}

func (h *histogram) merge(o *histogram) {
	if o.n == 0 {
		return
	}
	for i, n := range o.buckets {
		h.buckets[i] += n
	}
	h.widen(o.min, o.max)
	h.n += o.n
}

// widen extends the range of the counted durations. It is called before n is
// increased.
func (h *histogram) widen(least, most time.Duration) {
	if h.n == 0 {
		h.min, h.max = least, most
		return
	}
	h.min, h.max = min(h.min, least), max(h.max, most)
}

// quantile returns an upper bound of the q-quantile: the upper end of its bucket,
// within the measured range. It is never less than the true value, and at most a
// tenth more up to 5 minutes.
func (h *histogram) quantile(q float64) time.Duration {
	rank := int64(math.Ceil(q * float64(h.n)))
	var seen int64
	for i, n := range h.buckets {
		if seen += int64(n); n > 0 && seen >= rank {
			if i == histogramBuckets-1 {
				return h.max // the last bucket has no upper end
			}
			end := math.Ceil(float64(histogramFirst) * math.Pow(histogramGrowth, float64(i)))
			return min(max(time.Duration(end), h.min), h.max)
		}
	}
	return 0
}

func (h *histogram) latency() Latency {
	return Latency{N: h.n, P50: h.quantile(0.5), P95: h.quantile(0.95)}
}
