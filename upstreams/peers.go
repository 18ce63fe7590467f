package upstreams

// Load is the load of one gateway on an upstream.
type Load struct {
	// Requests in flight.
	Live  int `json:"live"`
	Batch int `json:"batch"`
	// Prefill is the estimated number of prompt tokens that the server still has to
	// prefill, LivePrefill the part of live requests.
	Prefill     int64 `json:"prefill,omitempty"`
	LivePrefill int64 `json:"live_prefill,omitempty"`
}

// Loads returns the load of this gateway by URL, without idle upstreams.
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

// Peers counts the other gateways that use the same upstreams.
type Peers struct {
	All     int
	Serving int // those that serve live requests
	Working int // those that run batch lines
}

// SetPeers sets the other gateways that use the same upstreams, and the sum of their
// loads by URL. The balancer includes these loads, and no batch line is sent to an
// upstream that is full because of them, or on which their live requests wait for
// prefill. The batch slots of an upstream are divided evenly among the gateways that
// run lines, and its live slots among those that serve live requests, so that
// gateways with outdated information about each other do not overfill it. Nil loads
// mean that the other gateways have not reported for long.
func (p *Pool) SetPeers(peers Peers, loads map[string]Load) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.peersKnown.Store(loads != nil)
	for _, u := range p.upstreams {
		l := loads[u.url]
		u.others.Store(uint64(max(l.Batch, 0))*oneBatch + uint64(max(l.Live, 0)))
		u.pace.setPeers(u.age(), l.Prefill, l.LivePrefill)
		if l.Live > 0 {
			u.noteLive()
		}
		u.updateBatchActivity()
	}
	if p.peers != peers {
		p.peers = peers
		p.publish()
		return
	}
	p.released()
}

// OthersIdle reports whether other gateways, as of the last SetPeers, leave slots of
// a model free: in total at least half of one gateway's share.
func (p *Pool) OthersIdle(model string) bool {
	if p.now.Load().peers.Working == 0 || !p.peersKnown.Load() {
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
		left := min(s.peers.Working*c.share()-otherBatch, c.concurrency()-live-batch-otherLive-otherBatch)
		free += max(left, 0)
		share += c.share()
	}
	return 2*free >= share
}
