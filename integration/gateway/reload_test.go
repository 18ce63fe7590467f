package gateway

import (
	"fmt"
	"testing"
	"time"

	"github.com/tidegate/tidegate/integration/tidegatetest"
)

// TestReloadsUnderLoad checks that reloads interrupt no live request, no stream and no batch
// line, and that no line runs twice.
func TestReloadsUnderLoad(t *testing.T) {
	t.Parallel()
	const lines, reloads = 3000, 20
	sims := tidegatetest.StartSims(t, 2, "--ttft", "100ms", "--itl", "5ms")
	settings := func(i int) tidegatetest.Settings {
		return tidegatetest.Settings{
			Sims:  sims,
			Batch: fmt.Sprintf("max_in_flight %d", 48+i),
			Site:  fmt.Sprintf("header X-Reload %d\n\ttidegate", i),
		}
	}
	gateway := tidegatetest.Run(t, settings(0))
	input := tidegatetest.BatchInput(t, lines, nil)
	b := gateway.Submit(t, input)
	gateway.WaitCompleted(t, b.ID, 1, time.Minute)
	load := gateway.StartLoad(t, 50, mixed(t))
	for i := range reloads {
		load.WaitEnded(t, 10)
		if i%5 == 4 {
			gateway.ReloadByCommand(t, settings(i+1))
		} else {
			gateway.Reload(t, settings(i+1))
		}
	}
	if now := gateway.Batch(t, b.ID); now.Status != "in_progress" {
		t.Errorf("the batch is %s: it did not last through the reloads", now.Status)
	}
	b = gateway.WaitEnd(t, b.ID, 2*time.Minute)
	sent := load.Stop()
	resent := 0
	for _, s := range sent {
		resent += s.Live.Resent
		if err := s.Live.Check(s.Body, s.Stream); err != nil {
			t.Errorf("stream %t: %v", s.Stream, err)
		}
	}
	t.Logf("%d live requests, %d sent again", len(sent), resent)
	if results := gateway.Results(t, b, input); b.Status != "completed" || len(results.Output) != lines {
		t.Errorf("the batch ended as %+v", b)
	}
	wantOnce(t, lines+len(sent), sims...)
}

// wantOnce asserts that the number of requests arrived, each once.
func wantOnce(t *testing.T, requests int, sims ...*tidegatetest.Sim) {
	t.Helper()
	calls := tidegatetest.TotalCalls(t, sims...)
	again := 0
	for _, c := range calls {
		if c.Received != 1 || c.Finished != 1 {
			again++
		}
	}
	if len(calls) != requests || again > 0 {
		t.Errorf("the servers got %d different requests, want %d; %d of them not exactly once", len(calls), requests, again)
	}
}
