package upstreams

import (
	"cmp"
	"math"
	"slices"
	"time"
)

const (
	// levelClose is the ratio of two numbers of requests up to which they are one level.
	levelClose = 1.06
	// levelLeast is the number of requests below which no level is looked for.
	levelLeast = 4
	// levelFine is the ratio of two levels between which none is looked for.
	levelFine = 1.15
	// levelAge is for how long a level counts.
	levelAge = 5 * time.Minute
	// levelSure is how many measurements show that more requests do not pay.
	levelSure = 2
	// levelKept is how many measurements of a level are kept.
	levelKept = 7
	// levelShift is the part by which throughput at a level has to change, several
	// times in a row, for what was measured before to be forgotten.
	levelShift = 0.25
	levelOdd   = 3
	// Growth while requests pay nearly alike, and later.
	levelFast, levelSlow = 2, 1.5
	levelLinear          = 0.6
)

// aim is what is wanted of a number of requests.
type aim struct {
	// pays is the part of a growth in requests by which throughput has to grow for
	// more to be tried.
	pays float64
	// enough is the part of the most throughput that was measured with which the
	// search is content. It takes the least number of requests that delivers it.
	enough float64
	// slower is how much longer one request may wait for a token than where few run: a
	// live request in their midst waits as long.
	slower float64
	// longer is how much longer one request may take than at the level at which
	// requests are quickest. It counts where times between tokens are not known.
	longer float64
	// fill has the search take the most requests that deliver enough instead: nobody
	// minds them.
	fill bool
}

// aims are what is wanted of a server, by what it is for.
var aims = map[Placement]aim{
	ForBoth:  {pays: 0.3, enough: 0.93, slower: 2, longer: 2},
	ForLive:  {pays: 0.3, enough: 0.93, slower: 1.7, longer: 1.6},
	ForBatch: {pays: -0.1, enough: 0.9, slower: math.Inf(1), longer: math.Inf(1), fill: true},
}

// level is the throughput that was measured with a number of requests.
type level struct {
	at       time.Time
	requests float64
	rate     float64   // per second, the median of rates
	rates    []float64 // the last measurements
	slower   float64   // how much longer a request waits for a token than where few run, an average; NaN: not known
	odd      oddity
}

// oddity counts measurements in a row that were far off in one direction.
type oddity struct {
	change int // 1: more throughput
	n      int
}

// levels are measurements of one server, by growing number of requests, and the
// search for the number beyond which more requests do not pay.
type levels []level

// add notes a measurement. When that shows the server to be another than it was, all
// before is forgotten, and change is 1 for a quicker and -1 for a slower one.
// slower is level.slower as measured, or not finite.
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

// elasticity is the growth of throughput in relation to that of requests.
func elasticity(a, b level) float64 { return (b.rate/a.rate - 1) / (b.requests/a.requests - 1) }

// top is how throughput grew towards the highest level, from the next one that is
// far enough below it to tell; what just pays if there is none.
func (ls levels) top(a aim) float64 {
	last := ls[len(ls)-1]
	for i := len(ls) - 2; i >= 0; i-- {
		if last.requests >= ls[i].requests*(1+levelSlow)/2 {
			return elasticity(ls[i], last)
		}
	}
	return a.pays
}

// each is the time per unit for one of the requests, in seconds.
func (l *level) each() float64 { return l.requests / l.rate }

// slow reports whether requests take too long at a level.
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

// enough is the first level with enough throughput of those that are not slow, or the
// last one.
func (ls levels) enough(a aim) int {
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

// next returns how many requests are to be tried next; found if that is the number
// that was searched for. There is a level.
func (ls levels) next(a aim) (requests int, found bool) {
	last := ls[len(ls)-1]
	switch grown := ls.top(a); {
	case ls.slow(len(ls)-1, a) && len(last.rates) >= levelSure:
	case !ls.slow(len(ls)-1, a) && (grown >= levelLinear || len(ls) == 1 && last.requests <= limitStart):
		return int(math.Ceil(levelFast * last.requests)), false
	case ls.slow(len(ls)-1, a):
		return int(math.Round(last.requests)), false
	case grown >= a.pays:
		return int(math.Ceil(levelSlow * last.requests)), false
	case len(last.rates) < levelSure:
		return int(math.Round(last.requests)), false
	}
	i := ls.enough(a)
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
