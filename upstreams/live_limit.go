package upstreams

import "slices"

// Seats are the live requests that a server runs at once. Live requests beyond
// them wait in the gateway, where they are served in order and can be refused,
// and not in the server.

// liveLimit is how many live requests of all gateways the server should have at
// once, 0 for any number. Only knowledge limits live requests: max_num_seqs as
// configured, or else as the server tells it, or else the capacity that was found
// by measuring, with an overhang.
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
	// overhangMin and overhangPart size the overhang over the capacity that was
	// found: so many requests wait at the server that it never runs dry, and that
	// it shows when it has become able to run more.
	overhangMin  = 2
	overhangPart = 8
	// unlimited is Candidate.seqs when live requests are not limited.
	unlimited = -1
)

// learnCapacity notes how many requests the server runs at once, 0 when that is not
// known any more because it ran more than was thought. While live requests wait, the
// capacity is not forgotten then but follows what the server runs, which the overhang
// lets grow: the queue does not empty into the server. running is as it told last.
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

// outgrowing reports whether live requests wait while u is limited to the capacity
// that was found.
func (p *Pool) outgrowing(u *upstream) bool {
	return u.capacity.Load() > 0 && p.queue.waiting[Live].Load() > 0
}

// knownSeqs is Candidate.seqs. Pool.mu is held.
func (p *Pool) knownSeqs(u *upstream) int {
	switch {
	case p.cfg.QueueSize == NoQueue:
		return unlimited
	case !u.seqsAssumed:
		return u.maxSeqs
	}
	return u.toldSeqs
}

// hasSeat reports whether a live request may come to a load. Beyond what other
// gateways leave, each gateway has its equal part: the others, which have seats
// and requests that wait for them, would never leave it one.
func (c *Candidate) hasSeat(load uint64) bool {
	limit := c.liveLimit()
	if limit == 0 {
		return true
	}
	live, _ := split(load)
	others, _ := split(c.others.Load())
	return live+others < limit || live < max(1, limit/c.liveGateways)
}

// isFree reports whether a live request that comes to a load runs at once: batch
// lines have no seat but have to end before they give way.
func (c *Candidate) isFree(load uint64) bool {
	limit := c.liveLimit()
	if limit == 0 {
		return true
	}
	live, batch := split(load)
	otherLive, otherBatch := split(c.others.Load())
	return live+batch+otherLive+otherBatch < limit
}

// beginLive counts a live request as in flight, if there is a seat.
func (c *Candidate) beginLive() bool {
	for {
		load := c.load.Load()
		if !c.hasSeat(load) {
			return false
		}
		if c.load.CompareAndSwap(load, load+1) {
			c.requests[Live].Add(1)
			live, _ := split(load + 1)
			c.seats.taken(live)
			return true
		}
	}
}

// seat takes a seat for a live request on a server that is up and has not been
// tried: c is nil when there is none, and full reports whether that is because the
// servers left are at their limits. Free servers come first. Suspects are for when
// no other server is left, not for when the others are full.
func (s *snapshot) seat(at *served, q *Query, tried []*upstream) (c *Candidate, full bool) {
	for {
		c, full = s.chooseSeat(at, q, tried)
		if c == nil || c.beginLive() {
			return c, full
		}
	}
}

func (s *snapshot) chooseSeat(at *served, q *Query, tried []*upstream) (c *Candidate, full bool) {
	if len(tried) == 0 && len(at.up) > 0 && allFree(at.up) {
		return s.cfg.Balancer.Choose(at.up, q), false
	}
	var room [roomFor]*Candidate
	for _, suspect := range [...]bool{false, true} {
		some := false
		best, rank := room[:0], seatNone
		for _, c := range at.up {
			if c.suspect.Load() != suspect || slices.Contains(tried, c.upstream) {
				continue
			}
			some = true
			r := c.seatRank()
			if r > rank {
				best, rank = room[:0], r
			}
			if r == rank && r > seatNone {
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
	seatNone  = iota
	seatTaken // beside batch lines that have to give way first
	seatFree
)

func (c *Candidate) seatRank() int {
	switch load := c.load.Load(); {
	case c.isFree(load):
		return seatFree
	case c.hasSeat(load):
		return seatTaken
	}
	return seatNone
}

func allFree(among []*Candidate) bool {
	for _, c := range among {
		if c.suspect.Load() || !c.isFree(c.load.Load()) {
			return false
		}
	}
	return true
}

// leftFor reports whether a server is up that is not among tried.
func (at *served) leftFor(tried []*upstream) bool {
	for _, c := range at.up {
		if !slices.Contains(tried, c.upstream) {
			return true
		}
	}
	return false
}
