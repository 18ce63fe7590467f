package upstreams

import (
	"net/http"

	"github.com/tidegate/tidegate/upstreams/prefix"
)

// Query describes a request to a Balancer.
type Query struct {
	Class Class
	Model string
	// Prompt is the beginning of the request body as received. It is nil for a batch
	// line, whose body is not known yet when its upstream is chosen. It must not be
	// retained or modified.
	Prompt []byte
	// Header is the header of the request; nil for a batch line. It must not be modified.
	Header http.Header
	// Chain is the chain of blocks of the prompt; nil if it is not known.
	Chain prefix.Chain
	// Bytes is the size of the request in bytes, Tokens the estimated number of tokens
	// of its prompt; both are 0 if no engine reads the request.
	Bytes, Tokens int64

	reserved int64 // tokens; see reserve
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
	// Choose returns one of the candidates, which must not be empty.
	Choose(candidates []*Candidate, q *Query) *Candidate
}
