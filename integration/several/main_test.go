// Package several tests gateways that share a PostgreSQL, a Redis and a directory, as
// processes with real servers.
package several

import (
	"fmt"
	"os"
	"testing"

	"github.com/tidegate/tidegate/integration/tidegatetest"
)

func TestMain(m *testing.M) { os.Exit(tidegatetest.Main(m)) }

// shared are the servers that gateways share.
type shared struct {
	*tidegatetest.Servers
	backend *tidegatetest.Backend
}

func newShared(t *testing.T) *shared {
	t.Helper()
	servers := tidegatetest.StartServers(t, tidegatetest.PostgresRedis)
	return &shared{servers, servers.NewBackend(t)}
}

// settings are those of a gateway on it. Leases are short, so that tests need
// not wait for long.
func (s *shared) settings(sims []*tidegatetest.Sim, inFlight int) tidegatetest.Settings {
	return tidegatetest.Settings{
		Sims:  sims,
		App:   s.backend.App(),
		Batch: fmt.Sprintf("max_in_flight %d\n lease 3s\n retry_backoff 20ms 100ms", inFlight),
	}
}

func start(t *testing.T, settings tidegatetest.Settings, n int) []*tidegatetest.Gateway {
	t.Helper()
	var gateways []*tidegatetest.Gateway
	for range n {
		gateways = append(gateways, tidegatetest.Run(t, settings))
	}
	return gateways
}

// repeated counts calls beyond the first of each request.
func repeated(t *testing.T, sims []*tidegatetest.Sim) (distinct, again int64) {
	t.Helper()
	for _, c := range tidegatetest.TotalCalls(t, sims...) {
		distinct++
		again += c.Received - 1
	}
	return distinct, again
}
