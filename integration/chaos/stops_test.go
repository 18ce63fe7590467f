package chaos

import (
	"syscall"
	"testing"
	"time"

	"github.com/tidegate/tidegate/integration/tidegatetest"
)

// A gateway stands still for longer than two leases, as on a machine that swaps
// or is moved, and then goes on as if nothing had happened. Others have taken
// its work over; what it still says of it is refused, and counted.
func TestStops(t *testing.T) {
	t.Parallel()
	for _, kind := range []tidegatetest.Kind{tidegatetest.Postgres, tidegatetest.PostgresRedis} {
		t.Run(string(kind), func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, tidegatetest.StartServers(t, kind), plan{gateways: 3, clients: clients})
			for range rounds(*stops) {
				w.stop()
			}
			// What a gateway had may be over when it goes on, or all of it in
			// flight, so that its results are refused before its claims are.
			refused := w.refused()
			for i := 0; i < 3**stops && !refused.both(); i++ {
				w.stop()
				refused = w.refused()
			}
			w.finish()
			if t.Logf("%d results and %d claims refused", refused.results, refused.claims); !refused.both() {
				t.Error("a gateway that had stood still was believed")
			}
		})
	}
}

// stop has a gateway that is busy stand still.
func (w *world) stop() {
	w.t.Helper()
	g := w.gateways[w.random.IntN(len(w.gateways))]
	w.wantBusy(g)
	g.Signal(w.t, syscall.SIGSTOP)
	w.mayRepeat += inFlight
	<-time.After(2*lease + between(w.random, 500*time.Millisecond, 2*time.Second)) // how long it stands still
	g.Signal(w.t, syscall.SIGCONT)
	w.wantProgress(progressIn, "the gateway goes on")
	w.wantWell()
	w.wantFewRepeats("a stop")
}

// wantBusy waits until a gateway has many lines in flight.
func (w *world) wantBusy(g *tidegatetest.Gateway) {
	w.t.Helper()
	tidegatetest.Eventually(w.t, progressIn, "a gateway to be busy", func() bool {
		h, ok := w.healthOf(g)
		return ok && h.Batch.InFlight > inFlight/2
	})
}

// stale is what a gateway counts of results that were refused and of claims that
// it lost.
type stale struct{ results, claims int64 }

func (s stale) both() bool { return s.results > 0 && s.claims > 0 }

// refused is what all gateways count.
func (w *world) refused() (all stale) {
	for _, g := range w.gateways {
		s := staleOf(w.t, g)
		all.results += s.results
		all.claims += s.claims
	}
	return all
}

func staleOf(t *testing.T, g *tidegatetest.Gateway) stale {
	t.Helper()
	return stale{
		results: int64(g.Metric(t, "tidegate_batch_results_refused_total")),
		claims:  int64(g.Metric(t, "tidegate_batch_claims_lost_total")),
	}
}
