package gateway

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/tidegate/tidegate/integration/tidegatetest"
)

// Live requests do not wait for a batch: they are answered while every slot of
// batches hangs.
func TestLiveDoesNotWaitForBatch(t *testing.T) {
	const slots = 32 // of two servers with the initial limit
	sims := tidegatetest.StartSims(t, 2)
	gateway := tidegatetest.Run(t, tidegatetest.Settings{Sims: sims, Batch: fmt.Sprint("max_in_flight ", slots)})
	input := tidegatetest.BatchInput(t, 4*slots, func(i int) string { return "[[sim:hang]] " + tidegatetest.CustomID(i) })
	b := gateway.Submit(t, input)
	running := func() (n int64) {
		for _, s := range sims {
			n += s.Stats(t).Running
		}
		return n
	}
	tidegatetest.Eventually(t, 30*time.Second, "every slot to hang", func() bool { return running() == slots })

	load := gateway.StartLoad(t, 100, mixed(t))
	load.WaitEnded(t, 300)
	var took []time.Duration
	for _, s := range load.Stop() {
		if err := s.Check(); err != nil {
			t.Error(err)
		}
		took = append(took, s.Took)
	}
	slices.Sort(took)
	if p99 := took[len(took)*99/100]; p99 > time.Second {
		t.Errorf("the 99th percentile of live requests is %s", p99)
	}
	if n := running(); n != slots {
		t.Errorf("%d lines run, want %d", n, slots)
	}

	gateway.CancelBatch(t, b.ID)
	b = gateway.WaitEnd(t, b.ID, 30*time.Second)
	results := gateway.Results(t, b, input)
	if b.Status != "cancelled" || b.RequestCounts.Failed != 0 || len(results.Errors) != 4*slots {
		t.Errorf("the batch ended as %+v with %d errors", b, len(results.Errors))
	}
	for id, r := range results.Errors {
		if r.Error == nil || r.Error.Code != "batch_cancelled" {
			t.Fatalf("%s ended as %+v", id, r)
		}
	}
	tidegatetest.Eventually(t, time.Second, "the servers to see that the lines were cancelled", func() bool { return running() == 0 })
}
