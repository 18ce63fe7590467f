package upstreams

import "slices"

// admit takes a seat for a request that comes: c is nil when there is none, and
// full reports whether it is to wait for one. It takes no lock while nothing
// of its class waits.
func (p *Pool) admit(s *snapshot, t *ticket) (c *Candidate, full bool) {
	if t.seatless || p.queue.waiting[t.query.Class].Load() == 0 {
		return p.takeSeat(s, t)
	}
	at := s.models[t.query.Model]
	return nil, at != nil && at.leftFor(t.tried)
}

// takeSeat takes a seat or, for a flex request, a slot, if there is one now: c is nil
// when there is none, and full reports whether servers are left that have none.
func (p *Pool) takeSeat(s *snapshot, t *ticket) (c *Candidate, full bool) {
	at := s.models[t.query.Model]
	if at == nil {
		return nil, false
	}
	if t.query.Class == Batch {
		return p.takeFlex(s, at, t)
	}
	if len(t.tried) == 0 && t.whole {
		if c := p.trial(at); c != nil {
			c.begin()
			return c, false
		}
	}
	if t.seatless {
		if c = s.choose(at, t.query, t.tried); c != nil {
			c.begin()
		}
		return c, false
	}
	return s.seat(at, t.query, t.tried)
}

// takeFlex takes a slot as Reserve does, on a server that has not been tried.
func (p *Pool) takeFlex(s *snapshot, at *served, t *ticket) (c *Candidate, full bool) {
	c = p.takeSlot(s, at, t.query, "", func(c *Candidate) bool {
		return !slices.Contains(t.tried, c.upstream) && (t.whole || c.gate.Load() == 0)
	})
	if c == nil {
		return nil, at.leftFor(t.tried)
	}
	c.requests[Batch].Add(1)
	return c, false
}

// endClass takes back what counted a request of a class as in flight.
func (p *Pool) endClass(u *upstream, class Class) {
	if class == Batch {
		u.endBatch()
	} else {
		u.end()
	}
	p.released()
}
