package gateway

import (
	"bytes"
	"fmt"
	"os"
	"strconv"
	"testing"
	"time"

	"github.com/tidegate/tidegate/integration/tidegatetest"
	"github.com/tidegate/tidegate/internal/pgtest"
)

// TestIdle checks that gateways without runnable work use no processor time: while all slots
// are in use, while their PostgreSQL is unavailable, and while the model server is.
func TestIdle(t *testing.T) {
	const inFlight, lines = 8, 1000 // half of the initial limit of a server
	servers := tidegatetest.StartServers(t, tidegatetest.PostgresRedis)
	backend := servers.NewBackend(t)
	sims := tidegatetest.StartSims(t, 1, "--ttft", "1h")
	var gateways []*tidegatetest.Gateway
	for range 2 {
		gateways = append(gateways, tidegatetest.Run(t, tidegatetest.Settings{Sims: sims, App: backend.App(), Batch: fmt.Sprintf("max_in_flight %d\n lease 3s", inFlight)}))
	}
	waits := func(why string) {
		t.Helper()
		// 1 is a processor. A loop that spins takes more than that, as far as
		// there is one left for it.
		const much = 0.3
		var before []time.Duration
		for _, g := range gateways {
			before = append(before, processorTime(t, g))
		}
		<-time.After(idleFor)
		for i, g := range gateways {
			share := float64(processorTime(t, g)-before[i]) / float64(idleFor)
			t.Logf("while %s gateway %d takes %.3f of a processor", why, i, share)
			if share > much {
				t.Error("that is too much")
			}
		}
	}
	healthy := func(store, queue bool) {
		t.Helper()
		for _, g := range gateways {
			tidegatetest.Eventually(t, time.Minute, "health to tell", func() bool {
				h := g.Health(t)
				return (h.Batch.Store == "ok") == store && (h.Batch.Queue == "ok") == queue
			})
		}
	}
	do := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}

	waits("nothing is to be done")
	for range gateways {
		gateways[0].Submit(t, tidegatetest.BatchInput(t, lines, nil))
	}
	for _, g := range gateways {
		tidegatetest.Eventually(t, time.Minute, "its lines to be in flight", func() bool { return g.Health(t).Batch.InFlight == inFlight })
	}
	waits("all slots are taken")
	do(servers.Redis.Kill())
	healthy(true, false)
	waits("Redis is away")
	do(servers.Postgres.Stop(pgtest.Fast))
	healthy(false, false)
	waits("PostgreSQL is away too")
	do(servers.Redis.Restart())
	healthy(false, true)
	waits("PostgreSQL is away")
	do(servers.Postgres.Start())
	healthy(true, true)
	for _, sim := range sims {
		sim.Kill(t)
	}
	for _, g := range gateways {
		tidegatetest.Eventually(t, time.Minute, "nothing to be in flight", func() bool { return g.Health(t).Batch.InFlight == 0 })
	}
	waits("the model is down")
}

// idleFor is the time of observation of a gateway.
const idleFor = 2 * time.Second

// processorTime returns the processor time of a gateway so far: fields 14 and 15 of
// /proc/PID/stat (proc_pid_stat(5)), in hundredths of a second.
func processorTime(t *testing.T, g *tidegatetest.Gateway) time.Duration {
	t.Helper()
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", g.PID()))
	if err != nil {
		t.Fatal(err)
	}
	fields := bytes.Fields(stat[bytes.LastIndexByte(stat, ')')+1:]) // from field 3
	var ticks int64
	for _, field := range fields[11:13] {
		n, err := strconv.ParseInt(string(field), 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		ticks += n
	}
	return time.Duration(ticks) * 10 * time.Millisecond
}
