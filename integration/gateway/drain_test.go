package gateway

import (
	"testing"
	"time"

	"github.com/tidegate/tidegate/integration/tidegatetest"
)

// TestDrainedUpstreamGetsNothingNew checks that a drained upstream finishes its requests and
// gets no new ones, live or batch, until undrain.
func TestDrainedUpstreamGetsNothingNew(t *testing.T) {
	t.Parallel()
	sims := tidegatetest.StartSims(t, 2, "--ttft", "50ms")
	gateway := tidegatetest.Run(t, tidegatetest.Settings{Sims: sims, Batch: "max_in_flight 16"})
	drained := sims[0]
	input := tidegatetest.BatchInput(t, 2000, nil)
	b := gateway.Submit(t, input)
	load := gateway.StartLoad(t, 50, mixed(t))
	tidegatetest.Eventually(t, 30*time.Second, "the upstream to have work", func() bool { return drained.Stats(t).Running > 0 })

	gateway.Drain(t, drained)
	tidegatetest.Eventually(t, 30*time.Second, "the upstream to finish", func() bool { return drained.Stats(t).Running == 0 })
	before := drained.Stats(t)
	load.WaitEnded(t, 100)
	if after := drained.Stats(t); after.Calls != before.Calls || after.Aborted > 0 {
		t.Errorf("a drained upstream had %+v and has %+v", before, after)
	}

	gateway.Undrain(t, drained)
	tidegatetest.Eventually(t, 30*time.Second, "the upstream to get work again", func() bool { return drained.Stats(t).Calls > before.Calls })
	b = gateway.WaitEnd(t, b.ID, time.Minute)
	sent := load.Stop()
	for _, s := range sent {
		if err := s.Check(); err != nil {
			t.Error(err)
		}
	}
	if gateway.Results(t, b, input); b.Status != "completed" {
		t.Errorf("the batch ended as %+v", b)
	}
	wantOnce(t, 2000+len(sent), sims...)
}
