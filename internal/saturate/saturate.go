// Package saturate adds integers without overflow.
package saturate

import "math"

// Add returns a + b, limited to the range of int64. Counts come from upstreams: an absurd
// count may distort statistics, but must not become negative, or make a database refuse a
// commit.
func Add(a, b int64) int64 {
	switch {
	case b > 0 && a > math.MaxInt64-b:
		return math.MaxInt64
	case b < 0 && a < math.MinInt64-b:
		return math.MinInt64
	default:
		return a + b
	}
}
