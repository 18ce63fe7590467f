package gateway

import (
	"encoding/json"
	"net/http"
	"testing"
	"time"

	"github.com/tidegate/tidegate/integration/tidegatetest"
)

// wanted returns the lines that GET /v1/batches/demand reports for the model, which is
// what an autoscaler asks.
func wanted(t *testing.T, g *tidegatetest.Gateway) int64 {
	t.Helper()
	status, text, err := g.Call(t.Context(), http.MethodGet, "/v1/batches/demand?model="+tidegatetest.Model, "", nil)
	if err != nil {
		t.Fatal(err)
	}
	if status == http.StatusServiceUnavailable { // not counted yet
		return -1
	}
	var demand struct {
		Data []struct {
			Lines int64 `json:"lines"`
		} `json:"data"`
	}
	if err := json.Unmarshal(text, &demand); err != nil || status != http.StatusOK {
		t.Fatalf("demand: got %d %s (%v), want 200 and JSON", status, text, err)
	}
	var lines int64
	for _, m := range demand.Data {
		lines += m.Lines
	}
	return lines
}

// The gateway's part of scaling to zero and back: while no server runs, a batch waits
// and its lines are in the demand; once the autoscaler has started a server, the batch
// completes, and the demand ends. The second time the model is known.
func TestScaleFromZero(t *testing.T) {
	t.Parallel()
	const lines = 40
	addr := tidegatetest.FreeAddr(t)
	g := tidegatetest.RunWorker(t, tidegatetest.Settings{
		Sims: []*tidegatetest.Sim{{URL: "http://" + addr}}, Upstream: "scale_to_zero", Pool: "health_interval 200ms",
	})
	var sim *tidegatetest.Sim
	for _, round := range []string{"a model that no server ever had", "a model that a server had"} {
		tidegatetest.Eventually(t, 30*time.Second, "the server to be away", func() bool {
			h := g.Health(t)
			return h.Upstreams[0].State == "away" && h.Status == "ok"
		})
		tidegatetest.Eventually(t, 30*time.Second, "no demand", func() bool { return wanted(t, g) == 0 })
		input := tidegatetest.BatchInput(t, lines, nil)
		b := g.Submit(t, input)
		tidegatetest.Eventually(t, 30*time.Second, "the lines to be in the demand", func() bool { return wanted(t, g) == lines })
		if now := g.Batch(t, b.ID); now.Status != "validating" && now.Status != "in_progress" {
			t.Fatalf("%s: the batch is %s without a server, want it to wait", round, now.Status)
		}
		if sim == nil {
			sim = tidegatetest.StartSimAt(t, addr)
		} else {
			sim.Start(t)
		}
		b = g.WaitEnd(t, b.ID, time.Minute)
		if results := g.Results(t, b, input); b.Status != "completed" || len(results.Output) != lines {
			t.Fatalf("%s: the batch ended as %+v, want all lines completed", round, b)
		}
		tidegatetest.Eventually(t, 30*time.Second, "the demand to end", func() bool { return wanted(t, g) == 0 })
		sim.Stop(t)
	}
}
