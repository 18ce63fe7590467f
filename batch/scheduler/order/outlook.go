package order

import (
	"math"
	"slices"
)

const (
	// nearEnd is the remaining duration of a batch, as a multiple of its longest line, from
	// which on the longest lines start first. With more, batches that are limited by
	// the KV cache take longer, see bench/results/README.md.
	nearEnd = 2
	// estimateFirst is the number of ended lines after which the lengths of the lines in
	// the queue are estimated again, estimateGrowth the factor of this number for each
	// further time.
	estimateFirst, estimateGrowth = 8, 1.5
)

// Outlook describes the lines of a batch that are not in its Queue.
type Outlook struct {
	Slots   int // lines of the batch that run
	Outside int // lines that are neither in the queue nor running
	// Running returns the expected tokens of the lines that run on a server, and the time
	// that the server takes for a token, in any unit. It is nil if nothing runs.
	Running func(server string) (tokens, perToken float64)
}

// SetOutlook sets the outlook for the next lines that are taken.
func (q *Queue[T]) SetOutlook(o Outlook) { q.outlook = o }

// Learn records that a line generated a number of tokens.
func (q *Queue[T]) Learn(p Profile, tokens int) {
	q.estimates.add(p, tokens)
	if q.estimates.ended < max(estimateFirst, int(estimateGrowth*float64(q.estimated))) {
		return
	}
	q.estimated = q.estimates.ended
	q.tokens = 0
	q.long = append(q.long[:0], q.sorted...)
	for _, e := range q.sorted {
		e.tokens = q.estimates.of(e.profile)
		q.tokens += int64(e.tokens)
	}
	q.long.order()
}

// Mean returns the expected tokens of a line of the batch, at least 1.
func (q *Queue[T]) Mean() float64 {
	mean := q.lengths.mean() * q.estimates.ratio()
	if mean == 0 && q.estimates.ended > 0 {
		mean = q.estimates.tokens / float64(q.estimates.ended)
	}
	return max(1, mean)
}

// Expected returns the expected tokens of a line, at least 1.
func (q *Queue[T]) Expected(p Profile) float64 {
	if tokens := q.estimates.of(p); tokens > 0 {
		return float64(tokens)
	}
	return q.Mean()
}

// Rest returns the expected tokens of the lines that have not started, those outside of
// the queue included.
func (q *Queue[T]) Rest() float64 {
	rest := float64(q.tokens)
	if q.tokens == 0 { // nothing is known
		rest = q.Mean() * float64(len(q.sorted))
	}
	return rest + q.Mean()*float64(q.outlook.Outside+len(q.front)+len(q.back))
}

// urgent reports whether the longest line starts now, whatever the order of the others:
// because it is a long one, or because the rest of the batch takes hardly longer. If lines
// share prefixes, the order of these saves more than a line that is not a long one costs.
func (q *Queue[T]) urgent(e *entry[T]) bool {
	tokens := float64(e.tokens)
	if isLong(tokens, q.Mean()) {
		return true
	}
	rest := q.Rest()
	lines := float64(len(q.sorted) + q.outlook.Outside + len(q.front) + len(q.back))
	return !q.Shares() && q.outlook.Slots > 0 && tokens > rest/lines && nearEnd*tokens*float64(q.outlook.Slots) >= rest
}

// Waits reports whether it is better that a server takes no line now: others will end the
// lines that are left before it could, because it would have to read a prefix again.
func (q *Queue[T]) Waits(server string) bool {
	if len(q.front) > 0 || len(q.sorted) == 0 || !q.mayWait() {
		return false
	}
	_, wait := q.choose(server)
	return wait
}

// Within reports whether there is a line of up to most expected tokens. A line that was
// put back is one.
func (q *Queue[T]) Within(most int) bool {
	if len(q.front) > 0 || len(q.sorted) == 0 {
		return true
	}
	if e := q.long.first(); e == nil || int(e.tokens) <= most {
		return e != nil || q.Mean() <= float64(most)
	}
	return slices.ContainsFunc(q.sorted, func(e *entry[T]) bool { return int(e.tokens) <= most })
}

// longestWithin returns the place in sorted of the longest line of up to most expected
// tokens, the first of these; otherwise place.
func (q *Queue[T]) longestWithin(place, most int) int {
	longest := int32(-1)
	for i, e := range q.sorted {
		if int(e.tokens) <= most && e.tokens > longest {
			place, longest = i, e.tokens
		}
	}
	return place
}

// shortest returns the place in sorted of the line with the fewest expected tokens, the
// first of these. Lines whose length is not known do not count; without others it is place.
func (q *Queue[T]) shortest(place int) int {
	shortest := int32(math.MaxInt32)
	for i, e := range q.sorted {
		if e.tokens > 0 && e.tokens < shortest {
			place, shortest = i, e.tokens
		}
	}
	return place
}
