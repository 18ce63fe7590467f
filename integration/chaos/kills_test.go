package chaos

import (
	"testing"
	"time"

	"github.com/tidegate/tidegate/integration/tidegatetest"
)

// Gateways are killed again and again, at any moment of their lives.
func TestKills(t *testing.T) {
	t.Parallel()
	for _, kind := range []tidegatetest.Kind{tidegatetest.SQLite, tidegatetest.Postgres, tidegatetest.PostgresRedis, tidegatetest.PostgresRedisS3} {
		t.Run(string(kind), func(t *testing.T) {
			t.Parallel()
			n := 3
			if kind == tidegatetest.SQLite {
				n = 1
			}
			w := newWorld(t, tidegatetest.StartServers(t, kind), plan{gateways: n, clients: clients})
			killed := 0
			for range rounds(*kills) {
				<-time.After(between(w.random, 50*time.Millisecond, 700*time.Millisecond)) // the moment of the kill
				g := w.gateways[w.random.IntN(n)]
				g.Kill(t)
				killed++
				w.mayRepeat += inFlight
				<-time.After(between(w.random, 0, 300*time.Millisecond))
				if w.random.IntN(5) == 0 { // and once more while it starts
					g.Launch(t)
				} else {
					g.Start(t)
				}
			}
			w.wantProgress(progressIn, "the last kill")
			if repeated := w.finish(); repeated < int64(killed) {
				t.Errorf("%d kills hit only %d lines in flight", killed, repeated)
			}
		})
	}
}
