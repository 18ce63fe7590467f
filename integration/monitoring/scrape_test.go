package monitoring

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"

	"github.com/tidegate/tidegate/integration/tidegatetest"
)

// metric has the values of each label of a metric, over all series.
type metric map[string]map[string]bool

// scraped are metrics by the names that series have: of a histogram those with
// _bucket, _sum and _count.
type scraped map[string]metric

func (s scraped) add(name string, labels map[string]string) {
	if s[name] == nil {
		s[name] = metric{"job": nil, "instance": nil} // Prometheus adds them
	}
	for label, value := range labels {
		if s[name][label] == nil {
			s[name][label] = make(map[string]bool)
		}
		s[name][label][value] = true
	}
}

// scrape reads /metrics and counts its series.
func scrape(tb testing.TB, g *tidegatetest.Gateway) (found scraped, series int) {
	tb.Helper()
	answer, err := http.Get(g.URL + "/metrics")
	if err != nil {
		tb.Fatal(err)
	}
	defer answer.Body.Close()
	parser := expfmt.NewTextParser(model.UTF8Validation)
	families, err := parser.TextToMetricFamilies(answer.Body)
	if err != nil {
		tb.Fatal(err)
	}
	found = make(scraped)
	for name, family := range families {
		for _, m := range family.GetMetric() {
			labels := make(map[string]string)
			for _, l := range m.GetLabel() {
				labels[l.GetName()] = l.GetValue()
			}
			h := m.GetHistogram()
			if h == nil {
				found.add(name, labels)
				series++
				continue
			}
			found.add(name+"_sum", labels)
			found.add(name+"_count", labels)
			series += 3 + len(h.GetBucket()) // expfmt leaves +Inf out
			for _, b := range h.GetBucket() {
				labels["le"] = fmt.Sprint(b.GetUpperBound())
				found.add(name+"_bucket", labels)
			}
		}
	}
	return found, series
}

// hangingLines are the lines of the batch that busy leaves.
const hangingLines = 20

// busy starts a gateway of a kind that has seen everything that shipped files speak
// of: streams, flex, requests that queue, are refused and fail, lines that end, fail
// and hang.
func busy(t *testing.T, kind tidegatetest.Kind) *tidegatetest.Gateway {
	t.Helper()
	backend := tidegatetest.StartServers(t, kind).NewBackend(t)
	sim := tidegatetest.StartSim(t)
	g := tidegatetest.Run(t, tidegatetest.Settings{
		Sims: []*tidegatetest.Sim{sim}, Upstream: "max_num_seqs 8", App: backend.App(), Pool: "queue_size 1\n queue_timeout 1m\n batch_share 0.5", Batch: "retries 1\n retry_backoff 1ms 2ms\n drain_timeout 1s",
	})
	ask := func(ctx context.Context, body string) int { return g.Chat(ctx, []byte(body), nil).Status }
	request := func(more, prompt string) string {
		return fmt.Sprintf(`{"model":%q,"max_tokens":5,"messages":[{"role":"user","content":%q}]%s}`, tidegatetest.Model, prompt, more)
	}
	for range 3 {
		ask(t.Context(), request(`,"stream":true,"stream_options":{"include_usage":true}`, "hi"))
		ask(t.Context(), request(`,"service_tier":"flex"`, "hi"))
	}
	ask(t.Context(), request("", "[[sim:status=500]]"))
	first := g.Submit(t, tidegatetest.BatchInput(t, 8, func(i int) string {
		if i == 0 {
			return "[[sim:status=400]]"
		}
		return fmt.Sprintf("line %d", i)
	}))
	g.WaitEnd(t, first.ID, time.Minute)
	// More lines than slots, for long enough to measure a speed.
	flowing := g.Submit(t, tidegatetest.BatchInput(t, 100, func(i int) string { return fmt.Sprintf("[[sim:slow=800ms]] %d", i) }))
	g.WaitEnd(t, flowing.ID, time.Minute)
	g.Submit(t, tidegatetest.BatchInput(t, hangingLines, func(i int) string { return fmt.Sprintf("[[sim:hang]] %d", i) }))
	ctx, leave := context.WithCancel(t.Context())
	var hanging sync.WaitGroup
	for i := range 9 { // 8 run, 1 waits
		hanging.Go(func() { ask(ctx, request("", fmt.Sprintf("[[sim:hang]] live %d", i))) })
	}
	t.Cleanup(hanging.Wait)
	t.Cleanup(leave)
	tidegatetest.Eventually(t, time.Minute, "a live request to wait", func() bool {
		found, _ := scrape(t, g)
		return found["tidegate_live_queue_requests_total"]["outcome"]["queued"]
	})
	if status := ask(t.Context(), request("", "one too many")); status != http.StatusTooManyRequests {
		t.Errorf("a request beyond the queue got %d, want 429", status)
	}
	tidegatetest.Eventually(t, time.Minute, "the batch that hangs to be seen", func() bool {
		var demand struct{ Data []struct{ Lines int } }
		g.Get(t, "/v1/batches/demand", &demand)
		if len(demand.Data) != 1 || demand.Data[0].Lines != hangingLines {
			return false // a look of before
		}
		found, _ := scrape(t, g)
		return found["tidegate_batch_deadline_ratio"]["model"][tidegatetest.Model]
	})
	return g
}

// idleSeries limits the series of an unused gateway with one server. There were 883 when
// each of 20 endpoints had its histograms from the start.
const idleSeries = 200

// TestIdleSeries checks that an idle gateway has no series for unused endpoints and models.
func TestIdleSeries(t *testing.T) {
	g := tidegatetest.Serve(t, tidegatetest.ServeConfig{Sims: []*tidegatetest.Sim{tidegatetest.StartSim(t)}})
	found, series := scrape(t, g)
	ours := 0
	for name := range found {
		if strings.HasPrefix(name, "tidegate_") {
			ours++
		}
	}
	t.Logf("an idle gateway has %d series, %d names are its own", series, ours)
	if series > idleSeries {
		t.Errorf("an idle gateway has %d series, want %d at most", series, idleSeries)
	}
}
