package upstreams

import (
	"cmp"
	"context"
	"math"
	"slices"
	"time"
)

// Placement: while batch lines run, live requests are kept together on as few
// servers as they need, and few lines run there. The other servers are filled with
// lines. If all servers were filled alike, each live request would be decoded in the
// midst of many lines, or all servers would stand half idle.
//
// Where live requests need all servers, or there is but one, all are alike.

// Placement is what a server is for while batch lines run.
type Placement string

// The placements of a server.
const (
	ForBoth  Placement = "both"  // live requests and batch lines alike
	ForLive  Placement = "live"  // live requests, and the lines beside which they stay quick
	ForBatch Placement = "batch" // batch lines; a live request only when it would wait longer elsewhere
)

// Text says it in a sentence's words.
func (r Placement) Text() string {
	switch r {
	case ForBoth:
		return "live requests and batch lines"
	case ForLive:
		return "live requests, and few batch lines"
	case ForBatch:
		return "batch lines; live requests are kept on other servers"
	}
	return string(r)
}

const (
	placementInterval = time.Second
	// placementWork is the part of a server's time that prompts of live requests
	// should take at most: with more they wait for each other.
	placementWork = 0.15
	// placementLive is how many live requests a server should run at most.
	placementLive = 16
	// placementRoom is the part of what fewer servers could take to which the need has
	// to fall for one less to be used.
	placementRoom = 0.7
	// placementStay is for how long the need has to stay that low: live requests that
	// came in a burst come again, and would meet a server that is being filled.
	placementStay = 30 * time.Second
	// placementAverage is the time constant of the averages of work and requests.
	placementAverage = 10 * time.Second
	// placementMemory is for how long batch lines count as present after the last one.
	placementMemory = 10 * time.Second
)

// placement is what is known of the live requests of all models. It is used by one
// goroutine.
type placement struct {
	at     time.Time            // of the last look
	tokens map[*upstream]int64  // of live prompts that were sent up to then
	models map[string]*liveNeed // by name
}

// liveNeed is how many servers the live requests of a model need.
type liveNeed struct {
	work, own, all float64   // averages: part of one server's time, live requests of this gateway, of all
	batch          time.Time // when batch lines ran last
	servers        int       // that are used
	low            time.Time // since when fewer would do; zero: they would not
}

// place decides what servers are for until ctx ends.
func (p *Pool) place(ctx context.Context) {
	ticker := time.NewTicker(placementInterval)
	defer ticker.Stop()
	var known placement
	for {
		select {
		case <-ctx.Done():
			return
		case now := <-ticker.C:
			known.assign(p.now.Load(), now)
		}
	}
}

// assign decides what each server is for.
func (k *placement) assign(s *snapshot, now time.Time) {
	span := now.Sub(k.at)
	k.at = now
	work := make(map[*upstream]int64, len(s.upstreams)) // ns of prefill since the last look
	tokens := make(map[*upstream]int64, len(s.upstreams))
	for _, u := range s.upstreams {
		tokens[u] = u.pace.sentTokens[Live].Load()
		if was, known := k.tokens[u]; known {
			work[u] = u.pace.prefill(tokens[u] - was)
		}
	}
	k.tokens = tokens
	models := make(map[string]*liveNeed, len(s.models))
	placed := make(map[*upstream]Placement, len(s.upstreams))
	for model, at := range s.models {
		n := k.models[model]
		if n == nil {
			n = &liveNeed{}
		}
		models[model] = n
		n.look(at, work, now, span)
		n.vote(at, now, placed)
	}
	k.models = models
	for _, u := range s.upstreams {
		if at := cmp.Or(placed[u], ForBoth); at != u.purpose() {
			u.placed.Store(&at)
		}
	}
}

// look averages the live requests that there are and what they had servers prefill.
func (n *liveNeed) look(at *served, work map[*upstream]int64, now time.Time, span time.Duration) {
	own, others, sum := 0, 0, int64(0)
	for _, c := range at.up {
		live, _ := c.counts()
		otherLive, _ := split(c.others.Load())
		own, others, sum = own+live, others+otherLive, sum+work[c.upstream]
		if c.hasBatch() {
			n.batch = now
		}
	}
	weight := 1 - math.Exp(-span.Seconds()/placementAverage.Seconds())
	n.work += weight * (float64(sum)/float64(span) - n.work)
	n.own += weight * (float64(own) - n.own)
	n.all += weight * (float64(own+others) - n.all)
	n.settle(now)
}

// settle decides how many servers are needed as of now.
func (n *liveNeed) settle(now time.Time) {
	need := n.all / placementLive
	if n.own > 0 {
		need = max(need, n.work*n.all/n.own/placementWork) // others' requests are like this gateway's
	}
	switch {
	case need > float64(n.servers):
		n.servers, n.low = int(math.Ceil(need)), time.Time{}
	case need >= placementRoom*float64(n.servers-1):
		n.low = time.Time{}
	case n.low.IsZero():
		n.low = now
	case now.Sub(n.low) >= placementStay:
		n.servers, n.low = int(math.Ceil(need)), time.Time{}
	}
	n.servers = max(1, n.servers)
}

// vote notes what a model's servers are for. One that several models have is for
// live requests if it is for those of one of them.
func (n *liveNeed) vote(at *served, now time.Time, placed map[*upstream]Placement) {
	if now.Sub(n.batch) > placementMemory {
		return
	}
	sound := slices.DeleteFunc(slices.Clone(at.up), func(c *Candidate) bool { return c.suspect.Load() })
	if n.servers >= len(sound) {
		for _, c := range sound {
			if placed[c.upstream] != ForLive {
				placed[c.upstream] = ForBoth
			}
		}
		return
	}
	// The same ones in all gateways.
	slices.SortFunc(sound, func(a, b *Candidate) int {
		return cmp.Or(cmp.Compare(b.Weight, a.Weight), cmp.Compare(a.URL, b.URL))
	})
	for i, c := range sound {
		_, voted := placed[c.upstream]
		switch {
		case i < n.servers:
			placed[c.upstream] = ForLive
		case !voted:
			placed[c.upstream] = ForBatch
		}
	}
}

// purpose is what u is for.
func (u *upstream) purpose() Placement {
	if at := u.placed.Load(); at != nil {
		return *at
	}
	return ForBoth
}
