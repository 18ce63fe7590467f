//go:build !race

package upstreams

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"

	"github.com/tidegate/tidegate/internal/vllmsim"
)

// TestPromptsSideBySide checks that a server that reads prompts side by side is filled,
// although a live request waits for its first token at each moment: holding lines back has
// no use there. It also finds a pool that does not read the metrics of a server often
// enough to notice this while no line runs there.
func TestPromptsSideBySide(t *testing.T) {
	for name, after := range map[string]time.Duration{"lines first": 0, "live requests first": 10 * time.Second} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { testPromptsSideBySide(t, after) })
		})
	}
}

// sideBySideSamples is the number of samples, in tenths of a second: live requests come at
// random, and the pauses follow them.
const sideBySideSamples = 300

// testPromptsSideBySide sends live requests, and lines after a time.
func testPromptsSideBySide(t *testing.T, after time.Duration) {
	net := &network{}
	sim := vllmsim.New(vllmsim.Config{Models: []string{model}, TTFT: 100 * time.Millisecond, ITL: 5 * time.Millisecond, MaxNumSeqs: 64})
	t.Cleanup(sim.Close)
	net.serve(t, "a:80", sim)
	pool := newPool(zap.NewNop(), net.dial)
	if err := pool.Apply(Config{Upstreams: []UpstreamConfig{{URL: "http://a", MaxNumSeqs: 32}}, BatchPrice: -1}); err != nil {
		t.Fatal(err)
	}
	pool.Start()
	t.Cleanup(pool.Close)
	synctest.Wait()
	ctx, quit := context.WithCancel(t.Context())
	r := &liveFirstRun{liveFirst: liveFirst{rate: 30, servers: 1}, gpus: &gpus{pool: pool, proxy: NewProxy(pool, zap.NewNop(), nil)}, ctx: ctx, began: time.Now(), result: new(liveFirstResult), failed: t.Errorf}
	r.work.Go(r.sendLive)
	time.Sleep(after)
	r.work.Go(r.sendLines)
	time.Sleep(30 * time.Second)
	live, lines := 0, 0
	for range sideBySideSamples {
		time.Sleep(100 * time.Millisecond)
		s := pool.Status()[0]
		live, lines = live+s.LiveInFlight, lines+s.BatchInFlight
	}
	quit()
	r.work.Wait()
	if live == 0 || live+lines < 24*sideBySideSamples {
		t.Errorf("%d live requests and %d lines run on average, want 24 together, of 32 that may", live/sideBySideSamples, lines/sideBySideSamples)
	}
}
