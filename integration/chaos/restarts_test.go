package chaos

import (
	"testing"
	"time"

	"github.com/tidegate/tidegate/integration/tidegatetest"
)

// TestRestarts restarts gateways gracefully, one after the other, as for an upgrade:
// unfinished lines are released, and no line runs twice.
func TestRestarts(t *testing.T) {
	t.Parallel()
	for _, kind := range []tidegatetest.Kind{tidegatetest.SQLite, tidegatetest.Postgres, tidegatetest.PostgresRedis} {
		t.Run(string(kind), func(t *testing.T) {
			t.Parallel()
			n := 3
			if kind == tidegatetest.SQLite {
				n = 1
			}
			w := newWorld(t, tidegatetest.StartServers(t, kind), plan{gateways: n, clients: clients})
			for i := range rounds(*restarts) {
				g := w.gateways[i%n]
				w.wantBusy(g)
				<-time.After(between(w.random, 0, 300*time.Millisecond)) // the moment of the restart
				g.Restart(t)
				w.wantProgress(progressIn, "a restart")
				w.wantFewRepeats("a restart")
			}
			w.finish()
		})
	}
}
