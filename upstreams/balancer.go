package upstreams

import (
	"math"
	"math/rand/v2"
	"slices"
	"time"
)

// Query describes a request to a Balancer.
type Query struct {
	Class Class
	Model string
	// Prompt is the beginning of the request body as received. It is nil for a batch
	// line, whose body is not known yet when its upstream is chosen. It must not be
	// retained or modified.
	Prompt []byte
}

// Candidate is an upstream that can accept a request.
type Candidate struct {
	URL        string
	Weight     float64
	MaxNumSeqs int
	BatchLimit int // maximum number of this gateway's batch lines in flight

	// liveGateways and batchGateways count the gateways that share the upstream for
	// live requests and for batch lines, this one included.
	liveGateways, batchGateways int

	throttle *throttle
	seqs     int // max_num_seqs if known, 0 if not, or unlimited; see liveLimit
	*upstream
}

// concurrency returns how many requests of all gateways the server should run
// concurrently: the measured limit, capped by the configuration.
func (c *Candidate) concurrency() int { return min(c.MaxNumSeqs, int(c.limit.Load())) }

// share returns how many batch lines this gateway may have in flight: an equal part
// of the concurrency limit for each gateway.
func (c *Candidate) share() int {
	return min(c.BatchLimit, (c.concurrency()+c.batchGateways-1)/c.batchGateways)
}

// batchSlots returns how many batch lines this gateway may have in flight at the
// given load, including those already in flight: its share, minus what live requests
// and other gateways use, and limited by the server's own 429 and 503 answers.
func (c *Candidate) batchSlots(load uint64) int {
	live, _ := split(load)
	otherLive, otherBatch := split(c.others.Load())
	slots := min(c.share(), c.concurrency()-c.liveReserve.reserved(live+otherLive, c.concurrency())-otherBatch)
	if full := int(c.saturation.limit.Load()); full > 0 {
		slots = min(slots, full)
	}
	return c.throttled(slots)
}

// candidate returns u with its current settings. mu is held.
func (p *Pool) candidate(u *upstream) *Candidate {
	return &Candidate{
		URL: u.url, Weight: u.weight, MaxNumSeqs: u.maxSeqs,
		BatchLimit:   batchLimit(p.batchShare(u), u.maxSeqs, p.peers.Working),
		liveGateways: 1 + p.peers.Serving, batchGateways: 1 + p.peers.Working,
		throttle: &p.throttle,
		seqs:     p.knownSeqs(u),
		upstream: u,
	}
}

// InFlight returns the number of requests of both classes in flight on the upstream,
// including those of other gateways.
func (c *Candidate) InFlight() int {
	live, batch := c.counts()
	otherLive, otherBatch := split(c.others.Load())
	// While batch is withheld, the server must not attract more live requests than
	// others.
	return live + max(batch, int(c.withheldLoad.Load())) + otherLive + otherBatch
}

// Balancer selects the upstream for a request. It is called for every request, by
// many goroutines concurrently, and must neither take a lock nor retain its
// arguments.
type Balancer interface {
	// Choose returns one of the candidates, of which there is at least one.
	Choose(candidates []*Candidate, q *Query) *Candidate
}

// LeastPending selects, for a live request, the server that is expected to return the
// first token first: the one with the least pending prefill, where a server that is
// filled with batch lines is charged for its longer steps. Servers within
// pendingAlike count as equal; among those it selects the one with the fewest
// requests in flight relative to its weight, and breaks ties at random. For batch
// lines, which are sent only while no prompt is pending, it compares only the
// requests in flight.
type LeastPending struct{}

// pendingAlike is the difference in pending prefill up to which two servers count as
// equal: a fraction of an engine step.
const pendingAlike = int64(2 * time.Millisecond)

// Choose implements Balancer.
func (LeastPending) Choose(candidates []*Candidate, q *Query) *Candidate {
	if len(candidates) == 1 {
		return candidates[0]
	}
	var room [stackCandidates]int64
	pending := room[:0] // of each candidate; read once, because it changes concurrently
	most := int64(0)
	if q.Class == Live {
		live := shortestLiveInterval(candidates)
		for _, c := range candidates {
			pending = append(pending, c.pending()+c.placementPenalty(live))
		}
		most = slices.Min(pending) + pendingAlike
	}
	// Ties are broken by the random start of the search.
	first := rand.IntN(len(candidates))
	var best *Candidate
	var least float64
	for i := range candidates {
		at := first + i
		if at >= len(candidates) {
			at -= len(candidates)
		}
		c := candidates[at]
		if q.Class == Live && pending[at] > most {
			continue
		}
		if load := float64(c.InFlight()+1) / c.Weight; best == nil || load < least {
			best, least = c, load
		}
	}
	return best
}

// pending returns the estimated pending prefill of the server in nanoseconds.
func (c *Candidate) pending() int64 {
	if c.pace.estimateOrPool() == 0 {
		return 0
	}
	return c.pace.pending(c.age())
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
