package upstreams

import (
	"math"
	"math/rand/v2"
	"sync/atomic"

	"github.com/cespare/xxhash/v2"

	"github.com/tidegate/tidegate/internal/openai"
	"github.com/tidegate/tidegate/upstreams/prefix"
)

// LeastLoad selects the server with the fewest requests in flight relative to its
// weight, and breaks ties at random.
type LeastLoad struct{}

// Choose implements Balancer.
func (LeastLoad) Choose(candidates []*Candidate, _ *Query) *Candidate {
	return leastLoaded(candidates, func(int) bool { return true })
}

// leastLoaded returns the least loaded of the allowed candidates. There must be at least
// one.
func leastLoaded(candidates []*Candidate, allowed func(i int) bool) *Candidate {
	// Ties are broken by the random start of the search.
	first := rand.IntN(len(candidates))
	var best *Candidate
	var least float64
	for i := range candidates {
		at := first + i
		if at >= len(candidates) {
			at -= len(candidates)
		}
		if !allowed(at) {
			continue
		}
		c := candidates[at]
		if load := c.relativeLoad(); best == nil || load < least {
			best, least = c, load
		}
	}
	return best
}

// relativeLoad returns the number of requests in flight relative to the weight, with one more.
func (c *Candidate) relativeLoad() float64 { return float64(c.InFlight()+1) / c.Weight }

// RoundRobin selects the candidates one after the other, whatever their load and
// weight. Batch lines go to the least loaded server.
type RoundRobin struct{ next atomic.Uint64 }

// Choose implements Balancer.
func (b *RoundRobin) Choose(candidates []*Candidate, q *Query) *Candidate {
	if q.Class != Live {
		return LeastLoad{}.Choose(candidates, q)
	}
	return candidates[(b.next.Add(1)-1)%uint64(len(candidates))]
}

const (
	// prefixKeyBlocks is the number of blocks at the beginning of a prompt that
	// PrefixHash takes as its key.
	prefixKeyBlocks = 4
	// boundedLoad is the load of a server, as a multiple of the mean, from which on requests
	// are sent to other servers, whatever their key
	// (Mirrokni, Thorup, Zadimoghaddam: Consistent Hashing with Bounded Loads, 2016).
	boundedLoad = 1.25
)

// PrefixHash selects the same server for prompts that begin alike, by the first
// kilobyte of the prompt, as long as the server has no more than 1.25 times the mean
// load. It needs no knowledge of earlier prompts, so that gateways agree. Requests
// without a prompt, and batch lines, go to the least loaded server.
type PrefixHash struct{}

// Choose implements Balancer.
func (PrefixHash) Choose(candidates []*Candidate, q *Query) *Candidate {
	if q.Class != Live || len(q.Chain) == 0 {
		return LeastLoad{}.Choose(candidates, q)
	}
	return rendezvous(candidates, q.Chain[min(len(q.Chain), prefixKeyBlocks)-1])
}

// Session selects the same server for the requests of a session, as long as it has no
// more than 1.25 times the mean load. Requests that name no session, and batch lines, go
// to the least loaded server.
type Session struct {
	// Header is the name of the header that has the session; Field is the name of the
	// string in the request's body that has it, such as user. One of them is set.
	Header, Field string
}

// Choose implements Balancer.
func (b Session) Choose(candidates []*Candidate, q *Query) *Candidate {
	name := ""
	switch {
	case q.Class != Live:
	case b.Header != "":
		name = q.Header.Get(b.Header)
	default:
		name = openai.StringMember(q.Prompt, b.Field)
	}
	if name == "" {
		return LeastLoad{}.Choose(candidates, q)
	}
	return rendezvous(candidates, prefix.Seed(name))
}

// rendezvous returns the candidate with the highest weighted hash of its URL and a key
// among those whose load is not above boundedLoad times the mean
// (Schindelhauer, Schomaker: Weighted Distributed Hash Tables, 2005).
func rendezvous(candidates []*Candidate, key uint64) *Candidate {
	mean := 0.0
	for _, c := range candidates {
		mean += c.relativeLoad()
	}
	mean /= float64(len(candidates))
	var best *Candidate
	highest := math.Inf(-1)
	for _, c := range candidates {
		if c.relativeLoad() > boundedLoad*mean {
			continue
		}
		hash := mix(xxhash.Sum64String(c.URL) ^ key)
		// In (0, 1), from the upper 53 bits.
		part := (float64(hash>>11) + 0.5) / (1 << 53)
		if score := -c.Weight / math.Log(part); score > highest {
			best, highest = c, score
		}
	}
	return best
}

// mix returns a well distributed hash of h (the finalizer of MurmurHash3).
func mix(h uint64) uint64 {
	h ^= h >> 33
	h *= 0xff51afd7ed558ccd
	h ^= h >> 33
	h *= 0xc4ceb9fe1a85ec53
	return h ^ h>>33
}
