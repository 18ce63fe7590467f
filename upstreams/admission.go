package upstreams

import "slices"

// admit reserves a live slot or, for a flex request, a batch slot. If c is nil, full
// reports whether the request should wait for a slot. It takes no lock unless
// requests of the same class are waiting.
func (p *Pool) admit(s *snapshot, t *ticket) (c *Candidate, full bool) {
	if t.noEngine || p.queue.waiting[t.query.Class].Load() == 0 {
		return p.tryAdmit(s, t)
	}
	at := s.models[t.query.Model]
	return nil, at != nil && at.leftFor(t.tried)
}

// tryAdmit reserves a slot if one is free now. If c is nil, full reports whether
// servers are left to try, all of which are at their limits.
func (p *Pool) tryAdmit(s *snapshot, t *ticket) (c *Candidate, full bool) {
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
	if t.noEngine {
		if c = s.choose(at, t.query, t.tried); c != nil {
			c.begin()
		}
		return c, false
	}
	return s.takeLiveSlot(at, t.query, t.tried)
}

// takeFlex reserves a batch slot for a flex request, as Reserve does, on a server
// that has not failed the request yet.
func (p *Pool) takeFlex(s *snapshot, at *served, t *ticket) (c *Candidate, full bool) {
	c = p.takeSlot(s, at, t.query, "", func(c *Candidate) bool {
		return !slices.Contains(t.tried, c.upstream) && (t.whole || c.trialAt.Load() == 0)
	})
	if c == nil {
		return nil, at.leftFor(t.tried)
	}
	c.requests[Batch].Add(1)
	return c, false
}

// endClass ends a request of the class: it is no longer counted as in flight.
func (p *Pool) endClass(u *upstream, class Class) {
	if class == Batch {
		u.endBatch()
	} else {
		u.end()
	}
	p.released()
}
