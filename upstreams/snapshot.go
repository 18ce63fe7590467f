package upstreams

import (
	"cmp"
	"slices"
	"time"

	"github.com/tidegate/tidegate/internal/openai"
)

// snapshot is the pool as a request sees it. It never changes.
type snapshot struct {
	cfg       Config
	bearer    []string // the Authorization header for upstreams without a key of their own; nil for none
	upstreams []*upstream
	models    map[string]*served
	list      []openai.Model
	slots     int // of all BatchLimits
	peers     Peers
}

// served is where a model is.
type served struct {
	up     []*Candidate // upstreams that have it and take requests
	known  []*upstream  // all that have it
	record *modelRecord
}

// publish makes the snapshot of how things stand. mu is held.
func (p *Pool) publish() {
	s := &snapshot{cfg: p.cfg, peers: p.peers, upstreams: slices.Clone(p.upstreams), models: make(map[string]*served)}
	if p.cfg.APIKey != "" {
		s.bearer = []string{"Bearer " + p.cfg.APIKey}
	}
	now := time.Now()
	for _, u := range p.upstreams {
		c := p.candidate(u)
		u.keepHits()
		s.slots += c.BatchLimit
		for i := range u.models {
			m := &u.models[i]
			at := s.models[m.ID]
			if at == nil {
				at = &served{record: p.record(m.ID, now)}
				s.models[m.ID] = at
				s.list = append(s.list, *m)
			} else if j := slices.IndexFunc(s.list, func(l openai.Model) bool { return l.ID == m.ID }); m.MaxModelLen > 0 && m.MaxModelLen < s.list[j].MaxModelLen {
				s.list[j].MaxModelLen = m.MaxModelLen // what every one of them can take
			}
			at.known = append(at.known, u)
			if u.isUp() && !u.draining && u.knows(m.ID, now) {
				at.up = append(at.up, c)
			}
		}
	}
	slices.SortFunc(s.list, func(a, b openai.Model) int { return cmp.Compare(a.ID, b.ID) })
	p.keepRecords(s, now)
	p.now.Store(s)
	p.signal()
}

// record returns the record of a model, nil when no server has told it.
func (s *snapshot) record(model string) *modelRecord {
	if at := s.models[model]; at != nil {
		return at.record
	}
	return nil
}

// probeSoon has the servers of a model probed that are not up: somebody asks
// for them.
func (s *served) probeSoon() {
	for _, u := range s.known {
		u.probeSoon()
	}
}

// roomFor is how many candidates are looked at without allocating.
const roomFor = 32

// choose picks where a live request goes, among those that are up and have not
// been tried: nil when there is none. Suspects are for when nobody else is left.
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
	var room [roomFor]*Candidate
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

// defaultShare is the part of a configured max_num_seqs that is for batch lines.
const defaultShare = 0.75

// batchShare is the part of u's max_num_seqs that is for batch lines. Where neither
// is configured it is all: the limit that is found leaves what live requests need.
func (p *Pool) batchShare(u *upstream) float64 {
	switch {
	case p.cfg.BatchShare > 0:
		return p.cfg.BatchShare
	case u.seqsAssumed:
		return 1
	}
	return defaultShare
}

// batchLimit is the whole part of share·seqs, shared with other gateways, at
// least 1. A share such as 0.29 is a little less than it says: the addend makes
// up for that.
func batchLimit(share float64, seqs, peers int) int {
	return max(1, int(share*float64(seqs)/float64(1+peers)+1e-9))
}
