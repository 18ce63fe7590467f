package upstreams

import (
	"math"
	"math/rand/v2"
	"slices"
	"time"
)

// Query is what a balancer may know of a request.
type Query struct {
	Class Class
	Model string
	// Prompt is the beginning of the request's body, as it came; nil for a
	// batch line, whose body is not known yet when its place is chosen. It is
	// not to be kept or changed.
	Prompt []byte
}

// Candidate is an upstream that could take a request.
type Candidate struct {
	URL        string
	Weight     float64
	MaxNumSeqs int
	BatchLimit int // batch lines of this gateway in flight at most

	// liveGateways and batchGateways count the gateways that share the upstream for
	// live requests and for batch lines, this one included.
	liveGateways, batchGateways int

	throttle *throttle
	seqs     int // max_num_seqs if it is known, 0 if not; unlimited: see liveLimit
	*upstream
}

// atOnce is how many requests the server should have at once, of all gateways:
// what was found, up to what is configured.
func (c *Candidate) atOnce() int { return min(c.MaxNumSeqs, int(c.limit.Load())) }

// share is how many batch lines of this gateway may be in flight now: of what was
// found each gateway has an equal part.
func (c *Candidate) share() int {
	return min(c.BatchLimit, (c.atOnce()+c.batchGateways-1)/c.batchGateways)
}

// batchSlots is how many batch lines of this gateway may be in flight now, those
// included that are: what other requests and a server's own answers leave of its
// share.
func (c *Candidate) batchSlots(load uint64) int {
	live, _ := split(load)
	otherLive, otherBatch := split(c.others.Load())
	slots := min(c.share(), c.atOnce()-c.seats.kept(live+otherLive, c.atOnce())-otherBatch)
	if full := int(c.full.limit.Load()); full > 0 {
		slots = min(slots, full)
	}
	return c.throttled(slots)
}

// candidate is u with its settings. mu is held.
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

// InFlight is how many requests of both classes are in flight on it, those of
// other gateways included.
func (c *Candidate) InFlight() int {
	live, batch := c.counts()
	otherLive, otherBatch := split(c.others.Load())
	// A server from which batch is withheld gets no more live requests than others.
	return live + max(batch, int(c.standIn.Load())) + otherLive + otherBatch
}

// Balancer chooses where a request goes. It is called for every request, by
// many goroutines at once, and is not to take a lock or keep what it is given.
type Balancer interface {
	// Choose gives one of the candidates, of which there is at least one.
	Choose(candidates []*Candidate, q *Query) *Candidate
}

// LeastPending chooses the server on which a live request will have its first token
// first: that will have read the prompts that it was sent, and whose steps are short.
// Among those that are about as far it chooses the one with the fewest requests in
// flight in relation to its weight, and among equals any. Batch lines go by the
// latter alone: they come when no prompt is pending.
type LeastPending struct{}

// pendingAlike is by how much two servers' pending prefill may differ for them to
// count as equals: a fraction of a step.
const pendingAlike = int64(2 * time.Millisecond)

// Choose implements Balancer.
func (LeastPending) Choose(candidates []*Candidate, q *Query) *Candidate {
	if len(candidates) == 1 {
		return candidates[0]
	}
	var room [roomFor]int64
	pending := room[:0] // of each; read once, as it changes all the time
	most := int64(0)
	if q.Class == Live {
		quick := quickest(candidates)
		for _, c := range candidates {
			pending = append(pending, c.pending()+c.detour(quick))
		}
		most = slices.Min(pending) + pendingAlike
	}
	// Equals are told apart by where the search begins.
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

// pending is the pending prefill of the server, in nanoseconds.
func (c *Candidate) pending() int64 {
	if c.pace.likely() == 0 {
		return 0
	}
	return c.pace.pending(c.age())
}

// quickest is the shortest step of the servers that are for live requests, in
// nanoseconds; math.MaxInt64 if there are none.
func quickest(candidates []*Candidate) int64 {
	least := int64(math.MaxInt64)
	for _, c := range candidates {
		if c.purpose() == ForLive {
			least = min(least, c.pace.step.Load())
		}
	}
	return least
}

// detour is how much longer the first token takes on a server that is for batch lines
// than on one that is for live requests, whose step is quick, in nanoseconds: half of
// a step on average until the next one begins, and that one.
func (c *Candidate) detour(quick int64) int64 {
	if c.purpose() != ForBatch || quick == math.MaxInt64 {
		return 0
	}
	return max(2*pendingAlike, (c.pace.step.Load()-quick)*3/2)
}
