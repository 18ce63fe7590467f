package vllmsim

import (
	"sort"
	"strconv"
)

// histogram is one of Prometheus, without labels of its own.
type histogram struct {
	bounds []float64 // ascending
	counts []uint64  // per bucket, not summed up; the last one is +Inf
	sum    float64
}

func newHistogram(bounds []float64) histogram {
	return histogram{bounds: bounds, counts: make([]uint64, len(bounds)+1)}
}

// observe counts the value n times.
func (h *histogram) observe(v float64, n int) {
	h.counts[sort.SearchFloat64s(h.bounds, v)] += uint64(n)
	h.sum += v * float64(n)
}

// appendText writes the series of the histogram; labels are those of every
// metric, without braces.
func (h *histogram) appendText(dst []byte, name, help, labels string) []byte {
	dst = appendFamily(dst, name, "histogram", help)
	total := uint64(0)
	for i, n := range h.counts {
		total += n
		le := "+Inf"
		if i < len(h.bounds) {
			le = pythonFloat(h.bounds[i])
		}
		dst = append(dst, name...)
		dst = append(dst, "_bucket{"...)
		dst = append(dst, labels...)
		dst = append(dst, `,le="`...)
		dst = append(dst, le...)
		dst = append(dst, `"} `...)
		dst = append(dst, pythonFloat(float64(total))...)
		dst = append(dst, '\n')
	}
	dst = appendSample(dst, name+"_count", labels, float64(total))
	return appendSample(dst, name+"_sum", labels, h.sum)
}

// appendFamily opens a family of series. A counter's name has its _total here,
// as in the text of prometheus_client.
func appendFamily(dst []byte, name, typ, help string) []byte {
	dst = append(dst, "# HELP "...)
	dst = append(dst, name...)
	dst = append(dst, ' ')
	dst = append(dst, help...)
	dst = append(dst, "\n# TYPE "...)
	dst = append(dst, name...)
	dst = append(dst, ' ')
	dst = append(dst, typ...)
	return append(dst, '\n')
}

func appendSample(dst []byte, name, labels string, v float64) []byte {
	dst = append(dst, name...)
	dst = append(dst, '{')
	dst = append(dst, labels...)
	dst = append(dst, "} "...)
	dst = append(dst, pythonFloat(v)...)
	return append(dst, '\n')
}

// pythonFloat writes whole numbers as prometheus_client does: 3.0.
func pythonFloat(v float64) string {
	s := strconv.FormatFloat(v, 'g', -1, 64)
	if v == float64(int64(v)) && v < 1e15 {
		s = strconv.FormatFloat(v, 'f', 1, 64)
	}
	return s
}
