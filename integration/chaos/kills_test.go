package chaos

import (
	"testing"
	"time"

	"github.com/tidegate/tidegate/integration/tidegatetest"
)

// deferring is a plan for batches whose requests are read again when their lines start: lines
// share prefixes, and most batches do not fit into memory.
var deferring = plan{gateways: 3, clients: clients, prefix: 4 << 10, batch: "memory 1MiB"}

// Gateways are killed again and again, at any moment of their lives.
func TestKills(t *testing.T) {
	t.Parallel()
	several := plan{gateways: 3, clients: clients}
	for name, tt := range map[string]struct {
		kind tidegatetest.Kind
		plan plan
	}{
		"sqlite":            {tidegatetest.SQLite, plan{gateways: 1, clients: clients}},
		"postgres":          {tidegatetest.Postgres, several},
		"postgres+redis":    {tidegatetest.PostgresRedis, several},
		"postgres+redis+s3": {tidegatetest.PostgresRedisS3, several},
		"deferred":          {tidegatetest.PostgresRedis, deferring},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			n := tt.plan.gateways
			reread := 0.0
			count := func(g *tidegatetest.Gateway) {
				read, _ := g.FindMetric(t, "tidegate_batch_requests_reread_total")
				reread += read
			}
			starting := make(map[*tidegatetest.Gateway]bool)
			w := newWorld(t, tidegatetest.StartServers(t, tt.kind), tt.plan)
			killed := 0
			for range rounds(*kills) {
				<-time.After(between(w.random, 50*time.Millisecond, 700*time.Millisecond)) // the moment of the kill
				g := w.gateways[w.random.IntN(n)]
				if !starting[g] {
					count(g)
				}
				g.Kill(t)
				killed++
				w.mayRepeat += inFlight
				<-time.After(between(w.random, 0, 300*time.Millisecond))
				if starting[g] = w.random.IntN(5) == 0; starting[g] { // and once more while it starts
					g.Launch(t)
				} else {
					g.Start(t)
				}
			}
			w.wantProgress(progressIn, "the last kill")
			if repeated := w.finish(); repeated < int64(killed) {
				t.Errorf("%d kills hit only %d lines in flight", killed, repeated)
			}
			for _, g := range w.gateways {
				count(g)
			}
			t.Logf("%.0f of %d requests were read again", reread, w.lines)
			if deferred := reread > 0; deferred != (tt.plan.prefix > 0) {
				t.Errorf("%.0f requests were read again, which is wanted only of batches that do not fit into memory", reread)
			}
		})
	}
}
