package several

import (
	"net/http"
	"testing"
	"time"

	"github.com/tidegate/tidegate/batch"
	"github.com/tidegate/tidegate/integration/tidegatetest"
)

// TestDeleteRunning has two gateways that run lines of a batch. One deletes it and is killed at
// once: the other aborts its lines and has its slots free again, and removes what
// is left of the batch.
func TestDeleteRunning(t *testing.T) {
	t.Parallel()
	const atOnce = 6
	s := newShared(t)
	sims := tidegatetest.StartSims(t, 1, "--ttft", "1h")
	settings := s.settings(sims, atOnce)
	settings.Batch += "\n collect_interval 100ms\n drain_timeout 100ms"
	gateways := start(t, settings, 2)
	for _, g := range gateways {
		tidegatetest.Eventually(t, 30*time.Second, "the limit is shared", func() bool { return g.Health(t).Upstreams[0].Limit == 128 })
	}
	b := gateways[0].Submit(t, ask(t, "deleted", 4*batch.SliceLines))
	for _, g := range gateways {
		tidegatetest.Eventually(t, 30*time.Second, "each runs lines", func() bool { return g.Health(t).Batch.InFlight > 0 })
	}
	status, answer, err := gateways[1].Call(t.Context(), http.MethodDelete, "/v1/batches/"+b.ID+"?input=true", "", nil)
	gateways[1].Kill(t)
	if err != nil || status != http.StatusOK {
		t.Fatalf("deletion: got %d %s (%v), want 200", status, answer, err)
	}
	if status, answer, err := gateways[0].Call(t.Context(), http.MethodGet, "/v1/batches/"+b.ID, "", nil); err != nil || status != http.StatusNotFound {
		t.Errorf("after the deletion: got %d %s (%v), want 404", status, answer, err)
	}
	tidegatetest.Eventually(t, 30*time.Second, "lines are aborted", func() bool { return gateways[0].Health(t).Batch.InFlight == 0 })
	tidegatetest.Eventually(t, 30*time.Second, "its content is gone", func() bool { return len(s.backend.Contents(t)) == 0 })
	before := sims[0].Stats(t).Calls
	next := gateways[0].Submit(t, tidegatetest.BatchInput(t, atOnce, func(int) string { return "[[sim:status=400]]" }))
	gateways[0].WaitEnd(t, next.ID, time.Minute)
	if calls := sims[0].Stats(t).Calls - before; calls != atOnce {
		t.Errorf("got %d calls after the deletion, want the %d of the next batch", calls, atOnce)
	}
}
