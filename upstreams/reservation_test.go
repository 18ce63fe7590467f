package upstreams

import (
	"cmp"
	"slices"
	"testing"
)

// firstBalancer selects the candidate with the first URL, and then calls chosen.
type firstBalancer struct{ chosen func(*Candidate) }

func (b *firstBalancer) Choose(candidates []*Candidate, _ *Query) *Candidate {
	first := slices.MinFunc(candidates, func(a, b *Candidate) int { return cmp.Compare(a.URL, b.URL) })
	b.chosen(first)
	return first
}

// pendingLive returns the pending tokens of live requests on each server.
func (w *gpus) pendingLive() [2]int64 {
	return [2]int64{w.pool.upstreams[0].pace.live.Load(), w.pool.upstreams[1].pace.live.Load()}
}

// TestReservationOfFullServer checks that a prompt is pending on the server that gets it,
// and not on one that was chosen first and became full meanwhile.
func TestReservationOfFullServer(t *testing.T) {
	onGPUs(t, []gpu{{slower: 1}, {slower: 1}}, func(t *testing.T, w *gpus) {
		filled := 0
		w.cfg.Upstreams[0].MaxNumSeqs = 2
		w.cfg.Balancer = &firstBalancer{func(c *Candidate) {
			for filled < 2 && c.upstream == w.pool.upstreams[0] && c.beginLive() {
				filled++
			}
		}}
		if err := w.pool.Apply(w.cfg); err != nil {
			t.Fatal(err)
		}
		s := w.pool.now.Load()
		c, _ := s.takeLiveSlot(s.models[model], &Query{Model: model, Bytes: 4000, Tokens: 1000}, nil)
		if c == nil || c.upstream != w.pool.upstreams[1] || filled != 2 {
			t.Fatalf("got %v with %d other requests on the first server, want the second server and 2", c, filled)
		}
		if got := w.pendingLive(); got != [2]int64{0, 1000} {
			t.Errorf("got %d pending tokens, want 1000 on the second server", got)
		}
	})
}

// TestReservationOfFailedAttempt checks that a prompt is not pending any more on a server
// that fails the request, nor on the one that answers it.
func TestReservationOfFailedAttempt(t *testing.T) {
	onGPUs(t, []gpu{{slower: 1}, {slower: 1}}, func(t *testing.T, w *gpus) {
		var seen [][2]int64 // when a server is chosen, and at the end
		w.cfg.Balancer = &firstBalancer{func(*Candidate) { seen = append(seen, w.pendingLive()) }}
		if err := w.pool.Apply(w.cfg); err != nil {
			t.Fatal(err)
		}
		w.net.mu.Lock()
		delete(w.net.hosts, "0:80") // it refuses connections, and no probe has noticed
		w.net.mu.Unlock()
		w.pool.closeIdle()
		w.send(t, chat("text", 1000, true))
		if got := w.pool.Status(); got[0].Requests != 1 || got[1].Requests != 1 {
			t.Fatalf("got %d and %d attempts at the servers, want 1 each", got[0].Requests, got[1].Requests)
		}
		if seen = append(seen, w.pendingLive()); !slices.Equal(seen, make([][2]int64, 3)) {
			t.Errorf("got %d pending tokens at the first choice, the second and the end, want none", seen)
		}
	})
}
