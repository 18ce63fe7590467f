package upstreams

// Load is what a gateway has on an upstream.
type Load struct {
	// Requests in flight.
	Live  int `json:"live"`
	Batch int `json:"batch"`
	// Prefill is how many tokens of prompts the server still has to read, as estimated,
	// and LivePrefill how many of these are of live requests.
	Prefill     int64 `json:"prefill,omitempty"`
	LivePrefill int64 `json:"live_prefill,omitempty"`
}

// Loads tells what this gateway has in flight, by URL; upstreams without any
// are left out.
func (p *Pool) Loads() map[string]Load {
	loads := make(map[string]Load)
	for _, u := range p.now.Load().upstreams {
		if live, batch := u.counts(); live+batch > 0 {
			l := Load{Live: live, Batch: batch}
			l.Prefill, l.LivePrefill = u.pace.pendingTokens(u.age())
			loads[u.url] = l
		}
	}
	return loads
}

// Peers counts other gateways that use the same upstreams.
type Peers struct {
	All     int
	Serving int // those that answer live requests
	Working int // those that run batch lines
}

// SetPeers sets which other gateways use the same upstreams, and what they have
// in flight together, by URL. The balancer counts it in, and no batch line goes
// to an upstream that all of them together have filled, or on which their live
// requests wait for their prompts to be read. What an upstream gives to
// batch lines is divided evenly among the gateways that run lines, and its seats
// for live requests among those that answer them, so that gateways that know of
// each other late do not overfill it. Nil loads mean that nothing has been heard
// of the others for long.
func (p *Pool) SetPeers(peers Peers, loads map[string]Load) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.heard.Store(loads != nil)
	for _, u := range p.upstreams {
		l := loads[u.url]
		u.others.Store(uint64(max(l.Batch, 0))*oneBatch + uint64(max(l.Live, 0)))
		u.pace.setPeers(u.age(), l.Prefill, l.LivePrefill)
		u.noteBatch()
	}
	if p.peers != peers {
		p.peers = peers
		p.publish()
		return
	}
	p.released()
}

// OthersIdle tells whether other gateways, by what SetPeers said last, leave
// slots of a model free: together half of one gateway's share, or more.
func (p *Pool) OthersIdle(model string) bool {
	if p.now.Load().peers.Working == 0 || !p.heard.Load() {
		return false
	}
	s, at, err := p.up(model)
	if err != nil {
		return false
	}
	free, share := 0, 0
	for _, c := range at.up {
		live, batch := c.counts()
		otherLive, otherBatch := split(c.others.Load())
		left := min(s.peers.Working*c.share()-otherBatch, c.atOnce()-live-batch-otherLive-otherBatch)
		free += max(left, 0)
		share += c.share()
	}
	return 2*free >= share
}
