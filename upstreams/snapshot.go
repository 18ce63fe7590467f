package upstreams

import (
	"cmp"
	"slices"
	"time"

	"github.com/tidegate/tidegate/internal/guardrail"
	"github.com/tidegate/tidegate/internal/openai"
)

// snapshot is an immutable view of the pool for requests.
type snapshot struct {
	cfg       Config
	bearer    []string // the Authorization header for upstreams without their own key; nil for none
	upstreams []*upstream
	models    map[string]*served
	list      []openai.Model
	slots     int // sum of all BatchLimits
	peers     Peers
	guardrail *guardrail.Client // nil for none
}

// served lists the upstreams of a model.
type served struct {
	up     []*Candidate // upstreams that have it and accept requests
	known  []*upstream  // all that have it
	record *modelRecord
}

// publish builds and stores a new snapshot. mu is held.
func (p *Pool) publish() {
	s := &snapshot{cfg: p.cfg, peers: p.peers, guardrail: p.guardrail, upstreams: slices.Clone(p.upstreams), models: make(map[string]*served)}
	if p.cfg.APIKey != "" {
		s.bearer = []string{"Bearer " + p.cfg.APIKey}
	}
	now := time.Now()
	for _, u := range p.upstreams {
		c := p.candidate(u)
		u.updateHits()
		s.slots += c.BatchLimit
		for i := range u.models {
			m := &u.models[i]
			at := s.models[m.ID]
			if at == nil {
				at = &served{record: p.record(m.ID, now)}
				s.models[m.ID] = at
				s.list = append(s.list, *m)
			} else if j := slices.IndexFunc(s.list, func(l openai.Model) bool { return l.ID == m.ID }); m.MaxModelLen > 0 && m.MaxModelLen < s.list[j].MaxModelLen {
				s.list[j].MaxModelLen = m.MaxModelLen // the limit that all of them can handle
			}
			at.known = append(at.known, u)
			if u.isUp() && !u.draining && u.serves(m.ID, now) {
				at.up = append(at.up, c)
			}
		}
	}
	slices.SortFunc(s.list, func(a, b openai.Model) int { return cmp.Compare(a.ID, b.ID) })
	p.updateRecords(s, now)
	p.now.Store(s)
	p.signal()
}

// record returns the record of a model, nil if no server has reported it.
func (s *snapshot) record(model string) *modelRecord {
	if at := s.models[model]; at != nil {
		return at.record
	}
	return nil
}

// probeSoon triggers probes of the model's servers, because a request needs one.
func (s *served) probeSoon() {
	for _, u := range s.known {
		u.probeSoon()
	}
}

// stackCandidates is the number of candidates that are handled without an allocation.
const stackCandidates = 32

// choose selects the upstream for a live request among those that are up and have not
// been tried: nil if there is none. Suspect servers are used only if no other is
// left.
func (s *snapshot) choose(at *served, q *Query, tried []*upstream) *Candidate {
	suspects := 0
	for _, c := range at.up {
		if c.suspect.Load() {
			suspects++
		}
	}
	if suspects == 0 && len(tried) == 0 {
		if len(at.up) == 0 {
			return nil
		}
		return s.cfg.Balancer.Choose(at.up, q)
	}
	var room [stackCandidates]*Candidate
	for _, suspect := range [...]bool{false, true} {
		left := room[:0]
		for _, c := range at.up {
			if c.suspect.Load() == suspect && !slices.Contains(tried, c.upstream) {
				left = append(left, c)
			}
		}
		if len(left) > 0 {
			return s.cfg.Balancer.Choose(left, q)
		}
	}
	return nil
}

// defaultShare is the part of a configured max_num_seqs that batch lines may use.
const defaultShare = 0.75

// batchShare returns the part of u's max_num_seqs that batch lines may use. If
// neither is configured it is 1: the measured limit leaves room for live requests.
func (p *Pool) batchShare(u *upstream) float64 {
	switch {
	case p.cfg.BatchShare > 0:
		return p.cfg.BatchShare
	case u.seqsAssumed:
		return 1
	}
	return defaultShare
}

// batchLimit returns share·seqs divided by the number of gateways, rounded down, at
// least 1. The addend compensates for rounding: a share such as 0.29 is slightly less
// than its decimal value.
func batchLimit(share float64, seqs, peers int) int {
	return max(1, int(share*float64(seqs)/float64(1+peers)+1e-9))
}
