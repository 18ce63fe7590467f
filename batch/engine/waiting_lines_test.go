package engine_test

import (
	"testing"

	"github.com/tidegate/tidegate/batch"
	"github.com/tidegate/tidegate/batch/batchtest"
	"github.com/tidegate/tidegate/batch/engine"
	"github.com/tidegate/tidegate/internal/metricstest"
)

// Every gateway counts as waiting the lines that no gateway has in flight, also one that
// only serves, which has none in flight itself.
func TestWaitingLinesOfSeveralGateways(t *testing.T) {
	t.Parallel()
	const lines, inFlight = 2000, 8
	s := batchtest.NewCluster(t, batch.Config{Role: batch.RoleServe}, 1)
	serving := s.Members[0]
	gate := make(chan struct{})
	for range 2 {
		h := s.Join(batch.Config{Role: batch.RoleWork, MaxInFlight: inFlight})
		h.Pool.Set(func() { h.Pool.Answer = batchtest.Behind(gate) })
	}
	for _, h := range s.Members {
		engine.LookOften(h.Engine)
	}
	id := serving.Create(serving.Upload(batchtest.Input(lines)))
	for _, h := range s.Members[1:] {
		batchtest.Until(t, "every worker has lines in flight", func() bool { return h.Pool.InFlight() == inFlight })
	}
	for i, h := range s.Members {
		batchtest.Until(t, "the lines in flight on all gateways do not wait", func() bool {
			return metricstest.Gather(t, h.Engine.Collector())["tidegate_batch_lines_waiting{model=m}"] == lines-2*inFlight
		})
		if d := (harness{h}).demand()["m"]; d.Lines != lines || d.InFlight != 2*inFlight {
			t.Errorf("demand of gateway %d: got %d lines, %d in flight, want %d and %d", i, d.Lines, d.InFlight, lines, 2*inFlight)
		}
		if got := h.Engine.InFlightEverywhere(); got != 2*inFlight {
			t.Errorf("lines in flight on all gateways, as gateway %d knows: got %d, want %d", i, got, 2*inFlight)
		}
	}
	wantSeries(t, metricstest.Gather(t, serving.Engine.Collector()), map[string]float64{"tidegate_batch_lines_in_flight{}": 0})
	close(gate)
	serving.Check(serving.Wait(id), lines)
}
