package gateway

import (
	"errors"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/tidegate/tidegate/integration/tidegatetest"
)

// A gateway that stops answers the request of every client whose connection was
// established. Each client makes a connection for one request, and never sends a
// request again.
func TestStopLosesNoRequest(t *testing.T) {
	t.Parallel()
	const stops, clients = 5, 32
	sim := tidegatetest.StartSim(t)
	g := tidegatetest.Run(t, tidegatetest.Settings{Sims: []*tidegatetest.Sim{sim}})
	body := tidegatetest.ChatBody(t, "Hello", false)
	for range stops {
		var answered atomic.Int64
		var all sync.WaitGroup
		for range clients {
			all.Go(func() {
				for {
					c := rawClient{addr: strings.TrimPrefix(g.URL, "http://"), body: body}
					err := c.ask()
					c.close()
					switch {
					case err == nil:
						answered.Add(1)
						continue
					case !errors.Is(err, syscall.ECONNREFUSED):
						t.Errorf("%v, want an answer or a refused connection", err)
					}
					return
				}
			})
		}
		tidegatetest.Eventually(t, 30*time.Second, "requests to be answered", func() bool { return answered.Load() >= 10*clients })
		g.Stop(t)
		all.Wait()
		g.Start(t)
	}
}
