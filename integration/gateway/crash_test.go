package gateway

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/tidegate/tidegate/integration/tidegatetest"
)

var (
	kills    = flag.Int("kills", 50, "how often TestKill kills the gateway")
	killSeed = flag.Uint64("kill-seed", 0, "seed of TestKill; 0: a new one each time")
)

// A batch of 10,000 lines whose gateway is killed again and again, at any
// moment: every line ends exactly once with the right answer, and the kills
// repeat no more calls than lines were in flight.
func TestKill(t *testing.T) {
	t.Parallel()
	const (
		lines    = 10_000
		inFlight = 64
	)
	seed := *killSeed
	if seed == 0 {
		seed = rand.Uint64()
	}
	t.Logf("seed: -kill-seed=%d", seed)
	random := rand.New(rand.NewPCG(seed, seed))

	sims := tidegatetest.StartSims(t, 4, "--ttft", "40ms", "--max-num-seqs", "32")
	g := tidegatetest.Serve(t, tidegatetest.ServeConfig{Sims: sims, Args: []string{"--max-in-flight", fmt.Sprint(inFlight)}})
	batches := 0
	submit := func() (id string, input []byte) {
		batches++
		input = tidegatetest.BatchInput(t, lines, func(i int) string { return fmt.Sprintf("batch %d, line %d", batches, i) })
		return g.Submit(t, input).ID, input
	}
	id, input := submit()
	for killed := 0; killed < *kills; {
		<-time.After(time.Duration(random.Int64N(int64(200 * time.Millisecond)))) // the moment of the kill
		if b := g.Batch(t, id); b.Status == "completed" {
			g.Results(t, b, input)
			id, input = submit()
			continue
		}
		g.Kill(t)
		killed++
		g.Start(t)
	}
	b := g.WaitEnd(t, id, 5*time.Minute)
	g.Results(t, b, input)

	var received, repeated int64
	for _, c := range tidegatetest.TotalCalls(t, sims...) {
		received += c.Received
		repeated += c.Received - 1
	}
	if want := int64(batches * lines); received-repeated != want {
		t.Errorf("%d lines were sent, want %d", received-repeated, want)
	}
	if repeated > int64(*kills*inFlight) {
		t.Errorf("%d calls repeated by %d kills with at most %d lines in flight", repeated, *kills, inFlight)
	}
	t.Logf("%d kills over %d batches: %d calls for %d lines, %d repeated", *kills, batches, received, batches*lines, repeated)
}

// Small batches whose gateway is killed while they are validated, run and
// finalized: each that was accepted ends once and whole.
func TestKillBetweenStates(t *testing.T) {
	t.Parallel()
	const (
		lines   = 100
		rounds  = 12
		batches = 4 // in each round
	)
	seed := *killSeed
	if seed == 0 {
		seed = rand.Uint64()
	}
	t.Logf("seed: -kill-seed=%d", seed)
	random := rand.New(rand.NewPCG(seed, seed))
	sims := tidegatetest.StartSims(t, 2, "--ttft", "1ms")
	g := tidegatetest.Serve(t, tidegatetest.ServeConfig{Sims: sims})
	inputs := make(map[string][]byte)
	for round := range rounds {
		for n := range batches {
			input := tidegatetest.BatchInput(t, lines, func(i int) string { return fmt.Sprintf("round %d, batch %d, line %d", round, n, i) })
			inputs[g.Submit(t, input).ID] = input
		}
		<-time.After(time.Duration(random.Int64N(int64(150 * time.Millisecond)))) // the moment of the kill
		g.Kill(t)
		g.Start(t)
	}
	for id, input := range inputs {
		b := g.WaitEnd(t, id, time.Minute)
		g.Results(t, b, input)
		if b.Status != "completed" || b.RequestCounts.Completed != lines {
			t.Errorf("%s is %s with %+v", id, b.Status, b.RequestCounts)
		}
	}
}
