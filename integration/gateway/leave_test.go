package gateway

import (
	"context"
	"testing"
	"time"

	"github.com/tidegate/tidegate/integration/tidegatetest"
)

// A client that leaves frees its place at the server within a second.
func TestClientLeaves(t *testing.T) {
	sim := tidegatetest.StartSim(t, "--itl", "10ms")
	gateway := tidegatetest.Serve(t, tidegatetest.ServeConfig{Sims: []*tidegatetest.Sim{sim}})
	for _, test := range []struct {
		name   string
		id     string // of the request, for the server's counts
		marker string
		stream bool
		events int // seen before the client leaves
	}{
		{"whole", "leaver-1", "[[sim:hang]]", false, 0},
		{"whole, half answered", "leaver-2", "[[sim:hang-mid]]", false, 0},
		{"streamed, before the first event", "leaver-3", "[[sim:hang]]", true, 0},
		{"streamed, after a silent start", "leaver-4", "[[sim:slow=1h]]", true, 0},
		{"streamed, between two events", "leaver-5", "[[sim:hang-mid]] [[sim:tokens=20]]", true, 5},
		{"streamed, while events come", "leaver-6", "[[sim:tokens=100000]]", true, 5},
	} {
		t.Run(test.name, func(t *testing.T) {
			ctx, leave := context.WithCancel(t.Context())
			defer leave()
			enough := make(chan struct{})
			ended := make(chan tidegatetest.Live, 1)
			go func() {
				ended <- gateway.Chat(ctx, tidegatetest.ChatBody(t, "sim-id:"+test.id+" "+test.marker, test.stream), func(events int) {
					if events == test.events {
						close(enough)
					}
				})
			}()
			tidegatetest.Eventually(t, 10*time.Second, "the request to arrive", func() bool { return sim.Stats(t).Running == 1 })
			if test.events > 0 {
				<-enough
			}
			leave()
			tidegatetest.Eventually(t, time.Second, "the server to see that the client left", func() bool {
				return sim.CallsTo(t, test.id).Aborted == 1 && sim.Stats(t).Running == 0
			})
			if live := <-ended; live.Err == nil {
				t.Errorf("the client that left was answered: %+v", live)
			}
		})
	}
}
