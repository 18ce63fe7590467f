package upstreams

import (
	"math"
	"slices"
	"time"
)

// LeastWork selects, for a live request, the server that is expected to return the first
// token first: the one with the least pending prefill, including the part of the
// request's own prompt that is not in the server's prefix cache. A server that is filled
// with batch lines is charged for its longer steps. Servers within pendingAlike count
// as equal; among those it selects as LeastLoad does. For batch lines, which are sent
// only while no prompt is pending, it is LeastLoad.
type LeastWork struct{}

// pendingAlike is the difference in pending prefill up to which two servers count as
// equal: a fraction of an engine step.
const pendingAlike = int64(2 * time.Millisecond)

// Choose implements Balancer.
func (LeastWork) Choose(candidates []*Candidate, q *Query) *Candidate {
	if len(candidates) == 1 {
		return candidates[0]
	}
	var room [stackCandidates]int64
	pending := room[:0] // of each candidate; read once, because it changes concurrently
	most := int64(0)
	if q.Class == Live {
		live := shortestLiveInterval(candidates)
		for _, c := range candidates {
			pending = append(pending, c.pending()+c.prefillTime(q)+c.placementPenalty(live))
		}
		most = slices.Min(pending) + pendingAlike
	}
	return leastLoaded(candidates, func(i int) bool { return q.Class != Live || pending[i] <= most })
}

// pending returns the estimated pending prefill of the server in nanoseconds.
func (c *Candidate) pending() int64 {
	if c.pace.estimateOrPool() == 0 {
		return 0
	}
	return c.pace.pending(c.age())
}

// prefillTime returns how long the server takes to prefill the part of the prompt that
// is not in its prefix cache, in nanoseconds; 0 if its speed is not known.
func (c *Candidate) prefillTime(q *Query) int64 {
	if q.Tokens == 0 {
		return 0
	}
	return int64(c.pace.estimateOrPool() * float64(q.uncachedTokens(c.upstream)))
}

// shortestLiveInterval returns the shortest inter-token latency of the servers that
// are placed for live requests, in nanoseconds; math.MaxInt64 if there are none.
func shortestLiveInterval(candidates []*Candidate) int64 {
	least := int64(math.MaxInt64)
	for _, c := range candidates {
		if c.placement() == ForLive {
			least = min(least, c.pace.interval.Load())
		}
	}
	return least
}

// placementPenalty returns how much longer the first token takes on a server that is
// placed for batch lines than on one placed for live requests, in nanoseconds. live
// is the inter-token latency of the latter. The first token waits on average half a
// step for the running step to end, and one step for its own.
func (c *Candidate) placementPenalty(live int64) int64 {
	if c.placement() != ForBatch || live == math.MaxInt64 {
		return 0
	}
	return max(2*pendingAlike, (c.pace.interval.Load()-live)*3/2)
}
