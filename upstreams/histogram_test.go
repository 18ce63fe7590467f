package upstreams

import (
	"testing"
	"time"
)

// A quantile is never less than the value that it stands for, and at most a
// tenth more.
func TestHistogramQuantiles(t *testing.T) {
	repeated := func(n int, d time.Duration) []time.Duration {
		all := make([]time.Duration, n)
		for i := range all {
			all[i] = d
		}
		return all
	}
	for _, c := range []struct {
		name     string
		values   []time.Duration
		p50, p95 time.Duration // true ones
	}{
		{"one value", repeated(1, 200*time.Millisecond), 200 * time.Millisecond, 200 * time.Millisecond},
		{"a floor", append(repeated(90, 201*time.Millisecond), repeated(10, 290*time.Millisecond)...), 201 * time.Millisecond, 290 * time.Millisecond},
		{"an outlier below", append(repeated(1, time.Millisecond), repeated(99, 200*time.Millisecond)...), 200 * time.Millisecond, 200 * time.Millisecond},
		{"outliers on both sides", append(append(repeated(1, time.Millisecond), repeated(98, 181*time.Millisecond)...), 9*time.Second), 181 * time.Millisecond, 181 * time.Millisecond},
		{"below the first bucket", repeated(3, 30*time.Microsecond), 30 * time.Microsecond, 30 * time.Microsecond},
		{"beyond the last bucket", repeated(3, 20*time.Minute), 20 * time.Minute, 20 * time.Minute},
		{"around five minutes", repeated(3, 4*time.Minute+50*time.Second), 4*time.Minute + 50*time.Second, 4*time.Minute + 50*time.Second},
	} {
		var whole, first, second histogram
		for i, d := range c.values {
			whole.add(d)
			if i%2 == 0 {
				first.add(d)
			} else {
				second.add(d)
			}
		}
		var merged histogram
		merged.merge(&first)
		merged.merge(&second)
		for name, h := range map[string]*histogram{"whole": &whole, "merged": &merged} {
			got := h.latency()
			for _, q := range []struct {
				name      string
				got, want time.Duration
			}{{"p50", got.P50, c.p50}, {"p95", got.P95, c.p95}} {
				if q.got < q.want || float64(q.got) > 1.1001*float64(q.want) {
					t.Errorf("%s, %s: %s is %v, want %v to a tenth more", c.name, name, q.name, q.got, q.want)
				}
			}
		}
	}
}

// Every duration up to five minutes keeps the promise, beside others.
func TestHistogramBuckets(t *testing.T) {
	for d := 120 * time.Microsecond; d < 5*time.Minute; d += d / 37 {
		var h histogram
		h.add(time.Microsecond)
		h.add(d)
		h.add(time.Hour)
		if got := h.quantile(0.5); got < d || float64(got) > 1.1001*float64(d) {
			t.Errorf("the median is %v, want %v to a tenth more", got, d)
		}
	}
	var none histogram
	if got := none.latency(); got != (Latency{}) {
		t.Errorf("nothing measured: %+v, want zero", got)
	}
}
