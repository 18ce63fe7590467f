package upstreams

import (
	"slices"
	"testing"
	"testing/synctest"
	"time"
)

// TestQuietFromStart checks that the servers of a gateway that has just started are quiet
// before the first batch line: a placement that is first updated an interval later makes a
// batch of two seconds begin with the limit of servers that have live requests.
func TestQuietFromStart(t *testing.T) {
	onGPUs(t, slices.Repeat([]gpu{{slower: 1}}, 2), func(t *testing.T, w *gpus) {
		for _, s := range w.pool.Status() {
			if s.Limit != limitStartQuiet {
				t.Errorf("%s begins with the limit %d, want %d", s.URL, s.Limit, limitStartQuiet)
			}
		}
	})
}

// TestQuietEnds checks that the first live request of a model ends the quiet time of all its
// servers at once, also a request of another gateway. An update at intervals only lets
// lines be sent for up to a second as if there were no live requests.
func TestQuietEnds(t *testing.T) {
	for name, arrive := range map[string]func(t *testing.T, w *gpus){
		"own": func(t *testing.T, w *gpus) { w.send(t, chat("first", 200, false)) },
		"of another gateway": func(_ *testing.T, w *gpus) {
			w.pool.SetPeers(Peers{All: 1, Serving: 1, Working: 1}, map[string]Load{"http://1": {Live: 1}})
		},
	} {
		t.Run(name, func(t *testing.T) {
			onGPUs(t, slices.Repeat([]gpu{{slower: 1}}, 3), func(t *testing.T, w *gpus) {
				time.Sleep(placementInterval + placementInterval/10) // just after an update
				for _, u := range w.pool.upstreams {                 // limits matter where lines are
					slot, err := w.pool.ReserveFit(model, "", func(url string) bool { return url == u.url })
					if err != nil {
						t.Fatal(err)
					}
					defer slot.Release()
				}
				began := time.Now()
				arrive(t, w)
				synctest.Wait()
				for _, u := range w.pool.upstreams {
					if u.quiet.Load() {
						t.Errorf("%s is quiet %v after a live request", u.url, time.Since(began))
					}
				}
				time.Sleep(2 * probeGap)
				if s := w.pool.Status()[0]; s.Placement != ForLive || s.Limit != limitStart {
					t.Errorf("the first server is placed for %q with the limit %d after a live request, want %q and %d", s.Placement, s.Limit, ForLive, limitStart)
				}
			})
		})
	}
}
