package upstreams

import "slices"

// A live slot is the right to run one live request on a server. Further live requests
// wait in the gateway, not in the server: the gateway can order and refuse them.

// liveLimit returns how many live requests of all gateways the server should run
// concurrently, 0 for no limit. Only a known capacity limits live requests:
// max_num_seqs as configured, or as the server reports it, or the measured capacity
// plus an overhang.
func (c *Candidate) liveLimit() int {
	switch {
	case c.seqs > 0:
		return c.seqs
	case c.seqs < 0:
		return 0
	}
	if found := int(c.capacity.Load()); found > 0 {
		return found + max(overhangMin, found/overhangPart)
	}
	return 0
}

const (
	// overhangMin and overhangPart define the overhang above the measured capacity: so
	// many requests wait in the server that it never idles, and that a higher capacity
	// becomes visible.
	overhangMin  = 2
	overhangPart = 8
	// unlimited is the Candidate.seqs that disables the limit for live requests.
	unlimited = -1
)

// learnCapacity stores the measured concurrency of the server. found is 0 if the
// server ran more than the last measured value; while live requests wait, the
// capacity then follows running, the server's own metric, and grows with the
// overhang. Forgetting it would send the whole queue to the server.
func (p *Pool) learnCapacity(u *upstream, found, running int) {
	old := int(u.capacity.Load())
	if found == 0 && p.outgrowing(u) {
		found = max(old, running)
	}
	if found != old {
		u.capacity.Store(int64(found))
		p.released()
	}
}

// outgrowing reports whether live requests wait while u is limited by the measured
// capacity.
func (p *Pool) outgrowing(u *upstream) bool {
	return u.capacity.Load() > 0 && p.queue.waiting[Live].Load() > 0
}

// knownSeqs returns Candidate.seqs. Pool.mu is held.
func (p *Pool) knownSeqs(u *upstream) int {
	switch {
	case p.cfg.QueueSize == NoQueue:
		return unlimited
	case !u.seqsAssumed:
		return u.maxSeqs
	}
	return u.reportedSeqs
}

// hasLiveSlot reports whether one more live request may be sent at the given load.
// Each gateway may always use an equal part of the limit: otherwise gateways with
// queued requests would take every slot that becomes free.
func (c *Candidate) hasLiveSlot(load uint64) bool {
	limit := c.liveLimit()
	if limit == 0 {
		return true
	}
	live, _ := split(load)
	others, _ := split(c.others.Load())
	return live+others < limit || live < max(1, limit/c.liveGateways)
}

// isFree reports whether a live request that is sent at the given load runs at once.
// If batch lines occupy the server, it has to wait for one of them to end.
func (c *Candidate) isFree(load uint64) bool {
	limit := c.liveLimit()
	if limit == 0 {
		return true
	}
	live, batch := split(load)
	otherLive, otherBatch := split(c.others.Load())
	return live+batch+otherLive+otherBatch < limit
}

// beginLive takes a live slot if there is one and counts the request as in flight.
func (c *Candidate) beginLive() bool {
	for {
		load := c.load.Load()
		if !c.hasLiveSlot(load) {
			return false
		}
		if c.load.CompareAndSwap(load, load+1) {
			c.requests[Live].Add(1)
			live, _ := split(load + 1)
			c.liveReserve.noteLive(live)
			c.noteLive()
			return true
		}
	}
}

// placeTries limits how often the choice of a server is repeated because another
// request was placed meanwhile.
const placeTries = 5

// takeLiveSlot takes a live slot on a server that is up and has not been tried. If c
// is nil, full reports whether all remaining servers are at their limits. Free
// servers are preferred. Suspect servers are used only if no other server is left,
// not if the others are full.
func (s *snapshot) takeLiveSlot(at *served, q *Query, tried []*upstream) (c *Candidate, full bool) {
	for tries := 1; ; tries = min(tries+1, placeTries) {
		seen := at.record.placements.Load()
		c, full = s.chooseLiveSlot(at, q, tried)
		if c == nil {
			return nil, full
		}
		// Of requests that are placed at the same moment each is to see where the one
		// before it went: its prompt is pending there.
		q.reserve(c.upstream)
		if (tries == placeTries || at.record.placements.CompareAndSwap(seen, seen+1)) && c.beginLive() {
			return c, full
		}
		q.unreserve(c.upstream)
	}
}

func (s *snapshot) chooseLiveSlot(at *served, q *Query, tried []*upstream) (c *Candidate, full bool) {
	if len(tried) == 0 && len(at.up) > 0 && allFree(at.up) {
		return s.cfg.Balancer.Choose(at.up, q), false
	}
	var room [stackCandidates]*Candidate
	for _, suspect := range [...]bool{false, true} {
		some := false
		best, rank := room[:0], rankFull
		for _, c := range at.up {
			if c.suspect.Load() != suspect || slices.Contains(tried, c.upstream) {
				continue
			}
			some = true
			r := c.liveRank()
			if r > rank {
				best, rank = room[:0], r
			}
			if r == rank && r > rankFull {
				best = append(best, c)
			}
		}
		switch {
		case len(best) > 0:
			return s.cfg.Balancer.Choose(best, q), false
		case some:
			return nil, true
		}
	}
	return nil, false
}

// Ranks of a server for a live request.
const (
	rankFull       = iota
	rankAfterBatch // a line has to end first
	rankFree
)

func (c *Candidate) liveRank() int {
	switch load := c.load.Load(); {
	case c.isFree(load):
		return rankFree
	case c.hasLiveSlot(load):
		return rankAfterBatch
	}
	return rankFull
}

func allFree(among []*Candidate) bool {
	for _, c := range among {
		if c.suspect.Load() || !c.isFree(c.load.Load()) {
			return false
		}
	}
	return true
}

// leftFor reports whether a server is up that is not in tried.
func (at *served) leftFor(tried []*upstream) bool {
	for _, c := range at.up {
		if !slices.Contains(tried, c.upstream) {
			return true
		}
	}
	return false
}
