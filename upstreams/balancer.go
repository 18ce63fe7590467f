package upstreams

import "math/rand/v2"

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

	gateways int // that use the upstream
	throttle *throttle
	*upstream
}

// atOnce is how many requests the server should have at once, of all gateways:
// what was found, up to what is configured.
func (c *Candidate) atOnce() int { return min(c.MaxNumSeqs, int(c.limit.Load())) }

// share is how many batch lines of this gateway may be in flight now: of what was
// found each gateway has an equal part.
func (c *Candidate) share() int {
	return min(c.BatchLimit, (c.atOnce()+c.gateways-1)/c.gateways)
}

// batchSlots is how many batch lines of this gateway may be in flight now, those
// included that are: what other requests and a server's own answers leave of its
// share.
func (c *Candidate) batchSlots(load uint64) int {
	live, _ := split(load)
	otherLive, otherBatch := split(c.others.Load())
	slots := min(c.share(), c.atOnce()-live-otherLive-otherBatch)
	if full := int(c.full.limit.Load()); full > 0 {
		slots = min(slots, full)
	}
	return c.throttled(slots)
}

// candidate is u with its settings. mu is held.
func (p *Pool) candidate(u *upstream) *Candidate {
	return &Candidate{
		URL: u.url, Weight: u.weight, MaxNumSeqs: u.maxSeqs,
		BatchLimit: batchLimit(p.cfg.BatchShare, u.maxSeqs, p.peers),
		gateways:   1 + p.peers,
		throttle:   &p.throttle,
		upstream:   u,
	}
}

// InFlight is how many requests of both classes are in flight on it, those of
// other gateways included.
func (c *Candidate) InFlight() int {
	live, batch := c.counts()
	otherLive, otherBatch := split(c.others.Load())
	return live + batch + otherLive + otherBatch
}

// Balancer chooses where a request goes. It is called for every request, by
// many goroutines at once, and is not to take a lock or keep what it is given.
type Balancer interface {
	// Choose gives one of the candidates, of which there is at least one.
	Choose(candidates []*Candidate, q *Query) *Candidate
}

// LeastLoaded chooses the server with the fewest requests in flight in relation
// to its weight, and among equals any.
type LeastLoaded struct{}

// Choose implements Balancer.
func (LeastLoaded) Choose(candidates []*Candidate, _ *Query) *Candidate {
	if len(candidates) == 1 {
		return candidates[0]
	}
	// Equals are told apart by where the search begins.
	first := rand.IntN(len(candidates))
	best := candidates[first]
	least := float64(best.InFlight()+1) / best.Weight
	for i := 1; i < len(candidates); i++ {
		at := first + i
		if at >= len(candidates) {
			at -= len(candidates)
		}
		c := candidates[at]
		if load := float64(c.InFlight()+1) / c.Weight; load < least {
			best, least = c, load
		}
	}
	return best
}
