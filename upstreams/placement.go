package upstreams

import (
	"cmp"
	"context"
	"math"
	"slices"
	"time"
)

// Placement: while batch lines run, live requests are concentrated on as few servers
// as they need, and few lines run there. The other servers are filled with lines. If
// lines were spread evenly, either each live request would be decoded among many
// lines, or all servers would be half idle.
//
// If live requests need all servers, or there is only one, all are used alike.

// Placement is the purpose of a server while batch lines run.
type Placement string

// The placements of a server.
const (
	ForBoth  Placement = "both"  // live requests and batch lines alike
	ForLive  Placement = "live"  // live requests, and as many lines as keep them fast
	ForBatch Placement = "batch" // batch lines; a live request only if it would wait longer elsewhere
)

// Text returns a description for use in a sentence.
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
	// placementWork is the maximum part of a server's time for prompts of live
	// requests: above it they wait for each other.
	placementWork = 0.15
	// placementLive is the maximum number of live requests per server.
	placementLive = 16
	// placementRoom is the part of the capacity of one server less to which the need
	// has to fall before one less is used.
	placementRoom = 0.7
	// placementStay is the time for which the need has to stay that low: bursts of live
	// requests recur, and would reach a server that is filled with lines.
	placementStay = 30 * time.Second
	// placementAverage is the time constant of the averages of work and requests.
	placementAverage = 10 * time.Second
	// placementMemory is the time for which batch lines count as present after the last one.
	placementMemory = 10 * time.Second
	// placementQuiet is the time without a live request of a model after which its servers
	// are quiet: no server is kept for live requests, and each runs the number of lines
	// with the highest throughput. Without it, a batch at night would leave part of the
	// servers idle. A model without a live request since the gateway started is quiet.
	placementQuiet = 2 * time.Minute
)

// placement tracks the live requests of all models. It is used by one goroutine.
type placement struct {
	at     time.Time            // of the last update
	tokens map[*upstream]int64  // live prompt tokens sent up to then
	models map[string]*liveNeed // by name
}

// liveNeed tracks how many servers the live requests of a model need.
type liveNeed struct {
	work, own, all float64   // averages: part of one server's time, live requests of this gateway, of all gateways
	batch          time.Time // when batch lines ran last
	live           time.Time // when live requests ran last, or the first update
	servers        int       // number of servers in use
	low            time.Time // since when fewer would be enough; zero: they are not
}

// runPlacement updates the placement of servers until ctx ends: at intervals, and when a
// live request comes to a quiet server.
func (p *Pool) runPlacement(ctx context.Context, known *placement) {
	ticker := time.NewTicker(placementInterval)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		case <-p.awakened:
		}
		known.assign(p.now.Load(), time.Now())
	}
}

// noteLive makes the placement of a quiet server be updated now, because it has a live
// request.
func (u *upstream) noteLive() {
	if !u.quiet.Load() {
		return
	}
	select {
	case u.awakened <- struct{}{}:
	default:
	}
}

// assign sets the placement of each server.
func (k *placement) assign(s *snapshot, now time.Time) {
	span := now.Sub(k.at)
	k.at = now
	work := make(map[*upstream]int64, len(s.upstreams)) // ns of prefill since the last update
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
	awake := make(map[*upstream]bool, len(s.upstreams)) // a model is not quiet
	for model, at := range s.models {
		n := k.models[model]
		if n == nil {
			n = &liveNeed{}
		}
		models[model] = n
		n.update(at, work, now, span)
		n.vote(at, now, placed)
		if n.servers > 0 {
			for _, u := range at.known {
				awake[u] = true
			}
		}
	}
	k.models = models
	for _, u := range s.upstreams {
		if at := cmp.Or(placed[u], ForBoth); at != u.placement() {
			u.placed.Store(&at)
		}
		if _, lines := u.counts(); u.quiet.Swap(!awake[u]) && awake[u] && lines > 0 {
			u.probeSoon() // its limit is that of a quiet server until the next sample
		}
	}
}

// update averages the live requests and their prefill time.
func (n *liveNeed) update(at *served, work map[*upstream]int64, now time.Time, span time.Duration) {
	own, others, sum := 0, 0, int64(0)
	for _, c := range at.up {
		live, _ := c.counts()
		otherLive, _ := split(c.others.Load())
		own, others, sum = own+live, others+otherLive, sum+work[c.upstream]
		if c.hasBatch() {
			n.batch = now
		}
	}
	if own+others > 0 || sum > 0 {
		n.live = now
	}
	weight := 1 - math.Exp(-span.Seconds()/placementAverage.Seconds())
	if span > 0 {
		n.work += weight * (float64(sum)/float64(span) - n.work)
	}
	n.own += weight * (float64(own) - n.own)
	n.all += weight * (float64(own+others) - n.all)
	n.updateServers(now)
}

// updateServers computes how many servers are needed now.
func (n *liveNeed) updateServers(now time.Time) {
	need := n.all / placementLive
	if n.own > 0 {
		need = max(need, n.work*n.all/n.own/placementWork) // other gateways' requests are assumed to be similar
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
	if now.Sub(n.live) >= placementQuiet {
		n.servers = 0
	}
}

// vote records the placement of a model's servers. A server with several models is
// placed for live requests if one of the models needs it.
func (n *liveNeed) vote(at *served, now time.Time, placed map[*upstream]Placement) {
	if now.Sub(n.batch) > placementMemory {
		return
	}
	sound := slices.DeleteFunc(slices.Clone(at.up), func(c *Candidate) bool { return c.suspect.Load() })
	if n.servers >= len(sound) || len(sound) == 1 {
		for _, c := range sound {
			if placed[c.upstream] != ForLive {
				placed[c.upstream] = ForBoth
			}
		}
		return
	}
	// The order is the same in all gateways.
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

// placement returns the placement of u.
func (u *upstream) placement() Placement {
	if at := u.placed.Load(); at != nil {
		return *at
	}
	return ForBoth
}
