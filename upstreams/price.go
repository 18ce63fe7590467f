package upstreams

import (
	"cmp"
	"math"
	"math/rand/v2"
	"slices"
)

// Price is the price of batch for a model: how much slower live streams are while
// batch lines run on their server than while none runs.
type Price struct {
	Model string `json:"model"`
	// Windows is the number of windows without batch in which something was measured.
	Windows int `json:"windows"`
	// Reason explains why the price, or a part of it, is not known; "" when it is.
	Reason string  `json:"reason,omitempty"`
	TTFT   PriceOf `json:"ttft"` // time to first token, from dispatch
	ITL    PriceOf `json:"itl"`  // between two chunks of a stream
	// Slots is the part of their slots that batch_budget allows batch lines.
	Slots float64 `json:"slots"`
}

// PriceOf is the price in one metric.
type PriceOf struct {
	SamplesWith    int         `json:"samples_with"`
	SamplesWithout int         `json:"samples_without"`
	P50            *Difference `json:"p50"` // nil: not known
	P99            *Difference `json:"p99"`
}

// Difference compares a quantile with and without batch, in seconds.
type Difference struct {
	With       float64 `json:"with_seconds"`
	Without    float64 `json:"without_seconds"`
	Difference float64 `json:"difference_seconds"`
	// Low and High are the bounds of the 95 % confidence interval of the difference.
	Low  float64 `json:"low_seconds"`
	High float64 `json:"high_seconds"`
}

// Relative returns the difference relative to the time without batch.
func (d Difference) Relative() float64 {
	if d.Without <= 0 {
		return 0
	}
	return d.Difference / d.Without
}

// Significant reports whether the difference is statistically significant.
func (d Difference) Significant() bool { return d.Low > 0 || d.High < 0 }

const (
	// priceWindows is the minimum number of windows for a confidence interval, which
	// is derived from the variance between windows.
	priceWindows = 8
	// p50Samples and p99Samples are the minimum numbers of samples on each side. Of
	// 368 samples the largest is above the 99th percentile with a confidence of 97.5
	// %.
	p50Samples = 30
	p99Samples = 400
	// resamples is the number of bootstrap resamples for an interval.
	resamples = 500
	// normal975 is the 97.5th percentile of the normal distribution.
	normal975 = 1.959964
)

// estimator compares the two sides of pairs in one metric.
//
// Streams with prompts of another size, or on another server, are not comparable:
// these are strata, in which both sides have the same weight. The weight is
// n1·n0/(n1+n0), which minimizes the variance of the difference; strata without
// samples on one side have none.
//
// Streams of one window share its load, so that they are not independent samples: the
// interval is found by resampling whole windows, each with the time before it (a
// cluster bootstrap). This makes no assumption about the distribution of times. As
// there are few windows, the interval is widened by the ratio of Student's t to the
// normal distribution. The resampling is deterministic.
type estimator struct {
	pairs  int
	strata int
	sides  [2][]weighed // sorted by value
	n      [2]int       // number of samples taken, including those that were not kept
}

// weighed is a sample and its weight.
type weighed struct {
	value         float64
	weight        float64
	pair, stratum int32
}

func newEstimator(pairs []*pricePair, m priceMetric) *estimator {
	type stratum struct {
		server *upstream
		class  uint8
	}
	strata := make(map[stratum]int32)
	e := &estimator{pairs: len(pairs)}
	for i, p := range pairs {
		for side := range p.sides {
			r := &p.sides[side][m]
			e.n[side] += r.n
			for _, s := range r.kept {
				key := stratum{p.server, s.class}
				at, ok := strata[key]
				if !ok {
					at = int32(len(strata))
					strata[key] = at
				}
				e.sides[side] = append(e.sides[side], weighed{float64(s.value), float64(r.n) / float64(len(r.kept)), int32(i), at})
			}
		}
	}
	e.strata = len(strata)
	for side := range e.sides {
		slices.SortFunc(e.sides[side], func(a, b weighed) int { return cmp.Compare(a.value, b.value) })
	}
	return e
}

// known reports whether there are enough samples for a quantile.
func (e *estimator) known(windows, samples int) bool {
	return e.pairs >= windows && min(e.n[0], e.n[1]) >= samples
}

// quantiles computes quantiles of each side, with each pair counted times[pair]
// times. It returns false if no stratum has samples on both sides.
func (e *estimator) quantiles(times []float64, qs []float64, out [2][]float64) bool {
	sums := [2][]float64{make([]float64, e.strata), make([]float64, e.strata)}
	for side, samples := range e.sides {
		for _, s := range samples {
			sums[side][s.stratum] += s.weight * times[s.pair]
		}
	}
	total := 0.0
	for i := range e.strata {
		without, with := sums[0][i], sums[1][i]
		weight := 0.0
		if without > 0 && with > 0 {
			weight = with * without / (with + without)
		}
		total += weight
		// From here on, sums contains the weight of one sample.
		sums[0][i], sums[1][i] = ratio(weight, without), ratio(weight, with)
	}
	if total <= 0 {
		return false
	}
	for side, samples := range e.sides {
		passed, next := 0.0, 0
		for _, s := range samples {
			passed += s.weight * times[s.pair] * sums[side][s.stratum]
			for next < len(qs) && passed >= qs[next]*total*(1-1e-9) {
				out[side][next] = s.value
				next++
			}
			if next == len(qs) {
				break
			}
		}
	}
	return true
}

func ratio(a, b float64) float64 {
	if b <= 0 {
		return 0
	}
	return a / b
}

// differences estimates the differences at quantiles in ascending order; nil if there
// is nothing to compare.
func (e *estimator) differences(qs ...float64) []Difference {
	times := make([]float64, e.pairs)
	for i := range times {
		times[i] = 1
	}
	room := func() [2][]float64 { return [2][]float64{make([]float64, len(qs)), make([]float64, len(qs))} }
	point := room()
	if e.pairs < 2 || !e.quantiles(times, qs, point) {
		return nil
	}
	draws := make([][]float64, len(qs))
	random := rand.New(rand.NewPCG(1, uint64(e.pairs)))
	drawn := room()
	for range resamples {
		clear(times)
		for range e.pairs {
			times[random.IntN(e.pairs)]++
		}
		if !e.quantiles(times, qs, drawn) {
			continue
		}
		for i := range qs {
			draws[i] = append(draws[i], drawn[1][i]-drawn[0][i])
		}
	}
	widen := student975(e.pairs-1) / normal975 * math.Sqrt(float64(e.pairs)/float64(e.pairs-1))
	all := make([]Difference, len(qs))
	for i := range qs {
		slices.Sort(draws[i])
		n := len(draws[i])
		if n == 0 {
			return nil
		}
		d := Difference{With: point[1][i], Without: point[0][i], Difference: point[1][i] - point[0][i]}
		d.Low = d.Difference - widen*max(0, d.Difference-draws[i][int(0.025*float64(n))])
		d.High = d.Difference + widen*max(0, draws[i][min(n-1, int(0.975*float64(n)))]-d.Difference)
		all[i] = d
	}
	return all
}

// student975 returns the 97.5th percentile of Student's t distribution (Abramowitz
// and Stegun, 26.7.5), for 3 or more degrees of freedom.
func student975(freedom int) float64 {
	z, f := normal975, float64(max(freedom, 1))
	z3, z5, z7 := z*z*z, math.Pow(z, 5), math.Pow(z, 7)
	return z + (z3+z)/(4*f) + (5*z5+16*z3+3*z)/(96*f*f) + (3*z7+19*z5+17*z3-15*z)/(384*f*f*f)
}

// priceOf compares pairs in one metric.
func priceOf(pairs []*pricePair, m priceMetric) PriceOf {
	e := newEstimator(pairs, m)
	p := PriceOf{SamplesWith: e.n[1], SamplesWithout: e.n[0]}
	if !e.known(priceWindows, p50Samples) {
		return p
	}
	found := e.differences(0.5, 0.99)
	if found == nil {
		return p
	}
	p.P50 = &found[0]
	if e.known(priceWindows, p99Samples) {
		p.P99 = &found[1]
	}
	return p
}
