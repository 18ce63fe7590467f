package upstreams

import (
	"cmp"
	"math"
	"slices"
	"time"
)

const (
	// levelClose is the ratio up to which two numbers of requests count as the same
	// level.
	levelClose = 1.06
	// levelLeast is the number of requests below which the search stops.
	levelLeast = 4
	// levelFine is the ratio of two adjacent levels at which the search between them
	// stops.
	levelFine = 1.15
	// levelAge is the time after which a level is no longer valid.
	levelAge = 5 * time.Minute
	// levelConfirm is the number of measurements that confirm that more requests do
	// not pay.
	levelConfirm = 2
	// levelKept is the number of measurements that are kept for each level.
	levelKept = 7
	// levelShift is the relative change of throughput at a level that, seen levelOdd
	// times in a row, discards all earlier measurements.
	levelShift = 0.25
	levelOdd   = 3
	// Growth factors while throughput grows nearly linearly, and later.
	levelFast, levelSlow = 2, 1.5
	levelLinear          = 0.6
)

// aim defines what the search optimizes.
type aim struct {
	// pays is the growth of throughput relative to that of requests that justifies
	// trying more requests.
	pays float64
	// enough is the part of the maximum measured throughput that is sufficient. The
	// search selects the smallest number of requests that reaches it.
	enough float64
	// slower limits the time between tokens relative to that with few requests: a live
	// request among them has the same latency.
	slower float64
	// longer limits the duration of a request relative to that at the level with the
	// shortest one. It applies if times between tokens are not known.
	longer float64
	// fill selects the largest number of requests that reaches enough instead, because
	// no live request is slowed down.
	fill bool
}

// aims are the aims by the placement of the server.
var aims = map[Placement]aim{
	ForBoth:  {pays: 0.3, enough: 0.93, slower: 2, longer: 2},
	ForLive:  {pays: 0.3, enough: 0.93, slower: 1.7, longer: 1.6},
	ForBatch: {pays: -0.1, enough: 0.9, slower: math.Inf(1), longer: math.Inf(1), fill: true},
}

// level is the throughput measured with a number of requests.
type level struct {
	at       time.Time
	requests float64
	rate     float64   // units per second, the median of rates
	rates    []float64 // the last measurements
	slower   float64   // average time between tokens relative to that with few requests; NaN: not known
	odd      oddity
}

// oddity counts consecutive measurements that deviate in the same direction.
type oddity struct {
	change int // 1: more throughput
	n      int
}

// levels are the measurements of one server, sorted by number of requests, and the
// search for the number beyond which more requests do not pay.
type levels []level

// add records a measurement. If several measurements show that the server's speed has
// changed, all earlier ones are discarded and change is 1 for a faster and -1 for a
// slower server. slower is level.slower as measured; it may be NaN or infinite.
func (ls *levels) add(at time.Time, requests, rate, slower float64) (change int) {
	*ls = slices.DeleteFunc(*ls, func(l level) bool { return at.Sub(l.at) > levelAge })
	for i := range *ls {
		l := &(*ls)[i]
		if max(l.requests/requests, requests/l.requests) > levelClose {
			continue
		}
		if math.Abs(rate/l.rate-1) <= levelShift {
			l.odd = oddity{}
			l.note(at, rate, slower)
			return 0
		}
		if now := cmp.Compare(rate, l.rate); now == l.odd.change {
			l.odd.n++
		} else {
			l.odd = oddity{now, 1}
		}
		if l.odd.n < levelOdd {
			l.note(at, rate, slower)
			return 0
		}
		change = l.odd.change
		*ls = levels{newLevel(at, requests, rate, slower)}
		return change
	}
	*ls = append(*ls, newLevel(at, requests, rate, slower))
	slices.SortFunc(*ls, func(a, b level) int { return cmp.Compare(a.requests, b.requests) })
	return 0
}

func newLevel(at time.Time, requests, rate, slower float64) level {
	l := level{requests: requests, slower: math.NaN()}
	l.note(at, rate, slower)
	return l
}

// note adds a measurement to a level.
func (l *level) note(at time.Time, rate, slower float64) {
	l.at = at
	switch {
	case math.IsNaN(slower) || math.IsInf(slower, 0):
	case math.IsNaN(l.slower):
		l.slower = slower
	default:
		l.slower += (slower - l.slower) / 3
	}
	l.rates = append(l.rates, rate)
	l.rates = l.rates[max(0, len(l.rates)-levelKept):]
	sorted := slices.Sorted(slices.Values(l.rates))
	l.rate = (sorted[(len(sorted)-1)/2] + sorted[len(sorted)/2]) / 2
}

// elasticity returns the growth of throughput relative to that of requests.
func elasticity(a, b level) float64 { return (b.rate/a.rate - 1) / (b.requests/a.requests - 1) }

// top returns the elasticity between the highest level and the next one that is far
// enough below it; a.pays if there is none.
func (ls levels) top(a aim) float64 {
	last := ls[len(ls)-1]
	for i := len(ls) - 2; i >= 0; i-- {
		if last.requests >= ls[i].requests*(1+levelSlow)/2 {
			return elasticity(ls[i], last)
		}
	}
	return a.pays
}

// each returns the time per unit for one of the requests, in seconds.
func (l *level) each() float64 { return l.requests / l.rate }

// slow reports whether requests take too long at level i.
func (ls levels) slow(i int, a aim) bool {
	if !math.IsNaN(ls[i].slower) {
		return ls[i].slower > a.slower
	}
	for j := range ls[:i] {
		if ls[i].each() > a.longer*ls[j].each() {
			return true
		}
	}
	return false
}

// sufficient returns the first level with sufficient throughput among those that are
// not slow, or the last one if a.fill.
func (ls levels) sufficient(a aim) int {
	most := 0.0
	for i, l := range ls {
		if !ls.slow(i, a) {
			most = max(most, l.rate)
		}
	}
	found := 0
	for i, l := range slices.Backward(ls) {
		if !ls.slow(i, a) && l.rate >= a.enough*most {
			found = i
			if a.fill {
				break
			}
		}
	}
	return found
}

// next returns the number of requests to try next. found reports whether it is the
// result of the search. There must be at least one level.
func (ls levels) next(a aim) (requests int, found bool) {
	last := ls[len(ls)-1]
	switch grown := ls.top(a); {
	case ls.slow(len(ls)-1, a) && len(last.rates) >= levelConfirm:
	case !ls.slow(len(ls)-1, a) && (grown >= levelLinear || len(ls) == 1 && last.requests <= limitStart):
		return int(math.Ceil(levelFast * last.requests)), false
	case ls.slow(len(ls)-1, a):
		return int(math.Round(last.requests)), false
	case grown >= a.pays:
		return int(math.Ceil(levelSlow * last.requests)), false
	case len(last.rates) < levelConfirm:
		return int(math.Round(last.requests)), false
	}
	i := ls.sufficient(a)
	at := ls[i]
	switch {
	case a.fill:
	case i == 0 && at.requests > levelLeast:
		return int(math.Round(at.requests / levelSlow)), false
	case i > 0:
		middle := int(math.Round(math.Sqrt(ls[i-1].requests * at.requests)))
		if at.requests > levelFine*ls[i-1].requests && middle > int(ls[i-1].requests) && middle < int(at.requests) {
			return middle, false
		}
	}
	return int(math.Round(at.requests)), true
}
