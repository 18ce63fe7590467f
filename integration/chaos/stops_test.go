package chaos

import (
	"syscall"
	"testing"
	"time"

	"github.com/tidegate/tidegate/integration/tidegatetest"
)

// TestStops suspends a gateway for longer than two leases, like a machine that swaps or is
// migrated, and continues it. Others have claimed its work; its late results are refused
// and counted.
func TestStops(t *testing.T) {
	t.Parallel()
	for _, kind := range []tidegatetest.Kind{tidegatetest.Postgres, tidegatetest.PostgresRedis} {
		t.Run(string(kind), func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, tidegatetest.StartServers(t, kind), plan{gateways: 3, clients: clients})
			for range rounds(*stops) {
				w.stop()
			}
			// The work of a gateway may have ended when it continues, or all of it may be in
			// flight, so that results are refused before claims are.
			refused := w.refused()
			for i := 0; i < 3**stops && !refused.both(); i++ {
				w.stop()
				refused = w.refused()
			}
			w.finish()
			if t.Logf("%d results and %d claims refused", refused.results, refused.claims); !refused.both() {
				t.Error("late results of a suspended gateway were not refused")
			}
		})
	}
}

// stop suspends a busy gateway.
func (w *world) stop() {
	w.t.Helper()
	g := w.gateways[w.random.IntN(len(w.gateways))]
	w.wantBusy(g)
	g.Signal(w.t, syscall.SIGSTOP)
	w.mayRepeat += inFlight
	<-time.After(2*lease + between(w.random, 500*time.Millisecond, 2*time.Second)) // the duration of the suspension
	g.Signal(w.t, syscall.SIGCONT)
	w.wantProgress(progressIn, "the gateway continues")
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

// stale has a gateway's counts of refused results and of lost claims.
type stale struct{ results, claims int64 }

func (s stale) both() bool { return s.results > 0 && s.claims > 0 }

// refused returns the sums of all gateways.
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
