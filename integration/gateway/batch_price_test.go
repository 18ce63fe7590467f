package gateway

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/tidegate/tidegate/integration/tidegatetest"
	"github.com/tidegate/tidegate/internal/openai"
	"github.com/tidegate/tidegate/upstreams"
)

// Batches wait outside of their hours and say so, live requests are answered, and a
// reload with other hours lets them run.
func TestBatchHours(t *testing.T) {
	t.Parallel()
	sims := tidegatetest.StartSims(t, 1)
	settings := tidegatetest.Settings{Sims: sims, Batch: "hours Mon-Sun 00:00-24:00 none\nhours_zone Europe/Berlin"}
	gateway := tidegatetest.Run(t, settings)
	input := tidegatetest.BatchInput(t, 100, func(i int) string { return tidegatetest.CustomID(i) })
	id := gateway.Submit(t, input).ID
	var b openai.Batch
	tidegatetest.Eventually(t, 30*time.Second, "the batch to wait", func() bool {
		b = gateway.Batch(t, id)
		return b.WaitReason != nil
	})
	const reason = "outside of its hours"
	if b.Status != "in_progress" || !strings.HasPrefix(*b.WaitReason, reason) {
		t.Errorf("the batch is %s and waits because it is %q, want in_progress and %q", b.Status, *b.WaitReason, reason)
	}
	var health struct {
		Status string `json:"status"`
		Batch  struct {
			Hours string `json:"hours"`
		} `json:"batch"`
	}
	gateway.Get(t, "/health", &health)
	if health.Status != "ok" || !strings.HasPrefix(health.Batch.Hours, reason) {
		t.Errorf("health: got %+v, want ok and the hours", health)
	}
	status, answer, err := gateway.Ask(t, http.MethodPost, "/v1/chat/completions", "application/json", tidegatetest.ChatBody(t, "hi", false))
	if err != nil || status != http.StatusOK {
		t.Errorf("a live request: got %d, %s and %v", status, answer, err)
	}
	if n := sims[0].Stats(t).Finished; n != 1 {
		t.Errorf("got %d requests at the server, want the live one alone", n)
	}
	settings.Batch = "hours Mon-Sun 00:00-24:00 0.5"
	gateway.Reload(t, settings)
	gateway.WaitCompleted(t, id, 100, time.Minute)
}

// The gateway withholds batches from a server with both classes now and then, and
// says so far what it measured.
func TestBatchPrice(t *testing.T) {
	t.Parallel()
	sims := tidegatetest.StartSims(t, 1, "--ttft", "100ms", "--itl", "10ms")
	gateway := tidegatetest.Run(t, tidegatetest.Settings{Sims: sims, Upstream: "max_num_seqs 16", Pool: "batch_price 0.5\nbatch_budget 10%"})
	id := gateway.Submit(t, tidegatetest.BatchInput(t, 5000, func(i int) string { return "[[sim:tokens=40]] " + tidegatetest.CustomID(i) })).ID
	load := gateway.StartLoad(t, 8, mixed(t)) // they leave slots, so that a line always runs
	var health struct {
		Price []upstreams.Price `json:"price"`
	}
	tidegatetest.Eventually(t, 2*time.Minute, "two windows without batches", func() bool {
		gateway.Get(t, "/health", &health)
		return len(health.Price) == 1 && health.Price[0].Windows >= 2
	})
	for _, s := range load.Stop() {
		if err := s.Check(); err != nil {
			t.Error(err)
		}
	}
	p := health.Price[0]
	if p.TTFT.SamplesWithout == 0 || p.TTFT.SamplesWith == 0 || p.ITL.SamplesWithout == 0 || p.TTFT.P50 != nil || p.Slots != 1 ||
		!strings.Contains(p.Reason, "of 8 windows without batch so far") {
		t.Errorf("got %+v, want samples on both sides and no price of two windows", p)
	}
	if n := gateway.Metric(t, `tidegate_batch_price_windows{model="`+tidegatetest.Model+`"}`); n < 2 {
		t.Errorf("metrics: got %v windows, want 2 or more", n)
	}
	gateway.CancelBatch(t, id)
	gateway.WaitEnd(t, id, time.Minute)
}
