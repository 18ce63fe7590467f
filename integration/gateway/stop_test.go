package gateway

import (
	"syscall"
	"testing"
	"time"

	"github.com/tidegate/tidegate/integration/tidegatetest"
)

// TestGracefulStopInMidBatch checks that a stopping gateway finishes running lines and
// releases the others: the next gateway completes the batch, and no line runs twice.
func TestGracefulStopInMidBatch(t *testing.T) {
	t.Parallel()
	const lines = 1000
	sims := tidegatetest.StartSims(t, 2, "--ttft", "300ms")
	gateway := tidegatetest.Run(t, tidegatetest.Settings{Sims: sims, Batch: "max_in_flight 64"})
	input := tidegatetest.BatchInput(t, lines, nil)
	b := gateway.Submit(t, input)
	gateway.WaitCompleted(t, b.ID, 100, time.Minute)

	body := tidegatetest.ChatBody(t, "[[sim:gap=1s]] Is this read to its end?", true)
	begun := make(chan struct{})
	ended := make(chan tidegatetest.Live, 1)
	go func() {
		ended <- gateway.Chat(t.Context(), body, func(events int) {
			if events == 2 {
				close(begun)
			}
		})
	}()
	<-begun
	gateway.Stop(t)
	if err := (<-ended).Check(body, true); err != nil {
		t.Errorf("stream during the stop of the gateway: %v", err)
	}
	for _, s := range sims {
		if stats := s.Stats(t); stats.Running+stats.Waiting > 0 || stats.Aborted > 0 {
			t.Errorf("the gateway that ended left %+v", stats)
		}
	}

	gateway.Start(t)
	if b := gateway.Batch(t, b.ID); b.RequestCounts.Completed < 100 || b.RequestCounts.Completed == lines {
		t.Errorf("after the restart the batch has %+v", b.RequestCounts)
	}
	b = gateway.WaitEnd(t, b.ID, time.Minute)
	if results := gateway.Results(t, b, input); b.Status != "completed" || len(results.Output) != lines {
		t.Errorf("the batch ended as %+v", b)
	}
	wantOnce(t, lines+1, sims...)
}

// Lines that take longer than the gateway may take to end are given up and run
// again by the next one, without waiting for a lease to end.
func TestStopHandsBackLinesThatTakeTooLong(t *testing.T) {
	const lines = 16 // the initial limit of a server
	sim := tidegatetest.StartSim(t)
	gateway := tidegatetest.Run(t, tidegatetest.Settings{Sims: []*tidegatetest.Sim{sim}, Batch: "drain_timeout 1s"})
	input := tidegatetest.BatchInput(t, lines, func(i int) string {
		return "[[sim:hang,times=1]] Line " + tidegatetest.CustomID(i)
	})
	b := gateway.Submit(t, input)
	tidegatetest.Eventually(t, 30*time.Second, "every line to hang", func() bool { return sim.Stats(t).Running == lines })
	begin := time.Now()
	gateway.Signal(t, syscall.SIGTERM)
	if code := gateway.Wait(t); code != 0 {
		t.Errorf("the gateway ended with %d", code)
	}
	if took := time.Since(begin); took > 10*time.Second {
		t.Errorf("it took %s", took)
	}
	gateway.Start(t)
	b = gateway.WaitEnd(t, b.ID, 20*time.Second)
	if results := gateway.Results(t, b, input); b.Status != "completed" || len(results.Output) != lines {
		t.Errorf("the batch ended as %+v", b)
	}
	if stats := sim.Stats(t); stats.Calls != 2*lines || stats.Aborted != lines {
		t.Errorf("the server saw %+v", stats)
	}
}
