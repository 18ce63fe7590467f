package chaos

import (
	"bufio"
	"bytes"
	"encoding/json"
	"net/http"
	"strconv"
	"strings"
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
				g := w.busyGateway()
				g.Signal(t, syscall.SIGSTOP)
				w.mayRepeat += inFlight
				<-time.After(2*lease + between(w.random, 500*time.Millisecond, 2*time.Second)) // how long it stands still
				g.Signal(t, syscall.SIGCONT)
				w.wantProgress(progressIn, "the gateway goes on")
			}
			w.finish()
			// Not by every gateway each time: what it had may be over by then.
			refused := int64(0)
			for _, g := range w.gateways {
				refused += staleWrites(t, g)
			}
			if t.Logf("%d results and claims refused", refused); refused == 0 {
				t.Error("nothing was refused")
			}
		})
	}
}

// busyGateway waits for one of the gateways, chosen by chance, to have many lines
// in flight.
func (w *world) busyGateway() *tidegatetest.Gateway {
	w.t.Helper()
	var busy *tidegatetest.Gateway
	tidegatetest.Eventually(w.t, progressIn, "a gateway to be busy", func() bool {
		g := w.gateways[w.random.IntN(len(w.gateways))]
		_, answer, err := g.Call(w.t.Context(), http.MethodGet, "/health", "", nil)
		var h struct {
			Batch struct {
				InFlight int `json:"in_flight"`
			}
		}
		if err == nil && json.Unmarshal(answer, &h) == nil && h.Batch.InFlight > inFlight/2 {
			busy = g
		}
		return busy != nil
	})
	return busy
}

// staleWrites is what the gateway counts of results that were refused and of
// claims that it lost.
func staleWrites(t *testing.T, g *tidegatetest.Gateway) (n int64) {
	t.Helper()
	response, err := http.Get("http://" + g.Admin + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	found := 0
	for lines := bufio.NewScanner(response.Body); lines.Scan(); {
		for _, name := range []string{"tidegate_batch_results_refused_total ", "tidegate_batch_claims_lost_total "} {
			value, ok := bytes.CutPrefix(lines.Bytes(), []byte(name))
			if !ok {
				continue
			}
			count, err := strconv.ParseFloat(strings.TrimSpace(string(value)), 64)
			if err != nil {
				t.Fatal(err)
			}
			n += int64(count)
			found++
		}
	}
	if found != 2 {
		t.Fatalf("the gateway's metrics have %d of the two counts", found)
	}
	return n
}
