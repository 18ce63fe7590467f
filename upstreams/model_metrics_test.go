package upstreams

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/tidegate/tidegate/internal/metricstest"
	"github.com/tidegate/tidegate/internal/modellabel"
	"github.com/tidegate/tidegate/internal/openai"
)

// TestIdleSeries checks that unused endpoints and models have no series.
func TestIdleSeries(t *testing.T) {
	f := newFake(t)
	set(&f.serve, streamed(sseEvent, sseEvent, sseUsage, sseDone))
	p := startPool(t, calm(f.URL))
	used := func() (names []string) {
		for name := range metricstest.Gather(t, p.Collector()) {
			if strings.HasPrefix(name, "tidegate_live_request") || strings.HasPrefix(name, "tidegate_live_time") || strings.HasPrefix(name, "tidegate_model_live_") && strings.Contains(name, "_seconds") {
				names = append(names, name)
			}
		}
		return names
	}
	if got := used(); len(got) > 0 {
		t.Errorf("an idle gateway has series of requests: %v", got)
	}
	g := newGateway(t, p)
	g.post(t, "/v1/chat/completions", chatBody(model))
	g.recorded(t, 1)
	if got := used(); len(got) != 6 {
		t.Errorf("got series %v, want 6: one endpoint's and one model's", got)
	}
}

func TestMetricsByModel(t *testing.T) {
	f := newFake(t, model, "n")
	set(&f.serve, streamed(sseEvent, sseEvent, sseUsage, sseDone))
	set(&f.figures, func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprint(w, "vllm:num_requests_running 1\nvllm:num_preemptions_total 7\n")
	})
	p := startPool(t, calm(f.URL))
	g := newGateway(t, p)
	g.post(t, "/v1/chat/completions", chatBody(model))
	g.post(t, "/v1/chat/completions", chatBody(model))
	g.post(t, "/v1/chat/completions", chatBody("n"))
	g.post(t, "/v1/chat/completions", flexBody)
	for i := range 3 {
		g.post(t, "/v1/chat/completions", chatBody(fmt.Sprintf("made-up-%d", i)))
	}
	g.recorded(t, 7)
	until(t, "the server's metrics are read", func() bool { return p.Status()[0].HasMetrics })
	got := metricstest.Gather(t, p.Collector())
	for name, want := range map[string]float64{
		"tidegate_model_live_request_duration_seconds{model=m}":       2,
		"tidegate_model_live_request_duration_seconds{model=n}":       1,
		"tidegate_model_live_request_duration_seconds{model=other}":   3,
		"tidegate_model_live_time_to_first_token_seconds{model=m}":    2,
		"tidegate_model_live_inter_token_latency_seconds{model=m}":    2,
		"tidegate_model_live_inter_token_latency_seconds{model=n}":    1,
		"tidegate_upstream_preemptions_total{upstream=" + f.URL + "}": 7,
	} {
		if have, there := got[name]; !there || have != want {
			t.Errorf("%s is %v (%v), want %v", name, have, there, want)
		}
	}
	for name := range got {
		if strings.Contains(name, "made-up") {
			t.Errorf("a client made the series %s", name)
		}
	}
	one := openai.Usage{InputTokens: 3, OutputTokens: 4, TotalTokens: 7}
	two := one
	two.Add(one)
	want := []TokenCount{{model, "flex", one}, {model, "live", two}, {"n", "live", one}}
	if d := cmp.Diff(want, p.Tokens()); d != "" {
		t.Errorf("tokens (-want +got):\n%s", d)
	}
}

// A server with more models than there are labels has a bounded number of series:
// requested models keep their names, the others share a label.
func TestManyModelsOfAServer(t *testing.T) {
	models := []string{model}
	for i := range 2 * modellabel.Limit {
		models = append(models, fmt.Sprintf("adapter-%03d", i))
	}
	f := newFake(t, models...)
	set(&f.serve, streamed(sseEvent, sseDone))
	p := startPool(t, calm(f.URL))
	g := newGateway(t, p)
	g.post(t, "/v1/chat/completions", chatBody(model))
	g.post(t, "/v1/chat/completions", chatBody("adapter-399"))
	g.recorded(t, 2)
	got := metricstest.Gather(t, p.Collector())
	for name, want := range map[string]float64{
		"tidegate_model_live_requests_total{model=m}":           1,
		"tidegate_model_live_requests_total{model=adapter-399}": 1,
		"tidegate_model_live_requests_total{model=other}":       0,
		"tidegate_model_servers{model=other}":                   1,
		"tidegate_model_servers_available{model=adapter-399}":   1,
		"tidegate_model_problem{model=other,problem=no_server}": 0,
		"tidegate_live_queue_length{model=other}":               0,
		"tidegate_live_queue_length{model=m}":                   0,
	} {
		if have, there := got[name]; !there || have != want {
			t.Errorf("%s is %v (%v), want %v", name, have, there, want)
		}
	}
	if len(got) > 150 {
		t.Errorf("a server with %d models has %d series, want 150 at most", len(models), len(got))
	}
}

// A server whose models change all the time makes a bounded number of series.
func TestModelLabelsAreBounded(t *testing.T) {
	p := NewPool(nil)
	for i := range 3 * modellabel.Limit {
		p.metrics.observe(routes["/v1/chat/completions"], &LiveRequest{
			Model: fmt.Sprintf("adapter-%d", i), Status: http.StatusOK, Duration: 1, TTFT: 1, ITL: 1, HasUsage: true, Usage: openai.Usage{OutputTokens: 1},
		})
	}
	const most = 3 * (modellabel.Limit + 1)
	series := 0
	for name := range metricstest.Gather(t, p.Collector()) {
		if strings.Contains(name, "{model=") && strings.Contains(name, "_seconds") {
			series++
		}
	}
	if series != most {
		t.Errorf("got %d series of models, want %d", series, most)
	}
	if got := len(p.Tokens()); got != modellabel.Limit+1 {
		t.Errorf("got %d counts of tokens, want %d", got, modellabel.Limit+1)
	}
}
