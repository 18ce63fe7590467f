package gateway

import (
	"html"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/tidegate/tidegate/integration/tidegatetest"
	"github.com/tidegate/tidegate/upstreams"
)

// Health, the doctor, the dashboard and the metrics say the same of a model whose
// only server is drained: its requests are refused.
func TestDrainedModelIsAProblemEverywhere(t *testing.T) {
	t.Parallel()
	sim := tidegatetest.StartSim(t)
	gateway := tidegatetest.Run(t, tidegatetest.Settings{Sims: []*tidegatetest.Sim{sim}})
	type health struct {
		Status    string
		Problems  []upstreams.ModelStatus
		Live      upstreams.LiveErrors
		Upstreams []upstreams.UpstreamStatus
	}
	page := func() string {
		t.Helper()
		_, text, err := gateway.Ask(t, http.MethodGet, "/dashboard/", "", nil)
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
	const calm = "No known problems"
	var before health
	gateway.Get(t, "/health", &before)
	if before.Status != "ok" || len(before.Problems) != 0 || !strings.Contains(page(), calm) {
		t.Fatalf("health of a gateway in order: %+v", before)
	}
	drained := time.Now()
	gateway.Drain(t, sim)
	model := before.Upstreams[0].Models[0]
	for range 3 {
		status, answer, err := gateway.Ask(t, http.MethodPost, "/v1/chat/completions", "application/json", []byte(`{"model":"`+model+`","messages":[{"role":"user","content":"hi"}]}`))
		if err != nil || status != http.StatusServiceUnavailable {
			t.Fatalf("got %d %s, %v; want 503", status, answer, err)
		}
	}
	var h health
	gateway.Get(t, "/health", &h)
	if h.Status != "degraded" || len(h.Problems) != 1 || h.Live.Failed != 3 || h.Live.Requests != 3 {
		t.Fatalf("health %+v, want degraded by one problem and 3 of 3 live requests failed", h)
	}
	p := h.Problems[0]
	if p.Model != model || p.Problem != upstreams.ProblemNoServer || p.Failed != 3 || p.Since.Before(drained) || p.Since.After(time.Now()) {
		t.Errorf("problem %+v, want no_server since the drain with 3 refused", p)
	}
	if since := h.Upstreams[0].Since; since.Before(drained) {
		t.Errorf("draining since %v, want when it was drained, after %v", since, drained)
	}
	var shown string
	tidegatetest.Eventually(t, time.Minute, "the dashboard to see a problem", func() bool { // it looks once a second
		shown = page()
		return !strings.Contains(shown, calm)
	})
	for _, words := range []string{"No server takes requests for " + model, "is drained since", "admin endpoint", "3 live requests failed"} {
		if text := html.UnescapeString(shown); !strings.Contains(text, words) {
			t.Errorf("the dashboard lacks %q", words)
		}
	}
	tidegatetest.Eventually(t, time.Minute, "the doctor to find the problem", func() bool { // a report is a few seconds old at most
		printed, status := examine(t, gateway)
		return status == 2 && strings.Contains(printed, "No server takes requests for "+model)
	})
	if got := gateway.Metric(t, `tidegate_model_problem{model="`+model+`",problem="no_server"}`); got != 1 {
		t.Errorf("the metric is %v, want 1", got)
	}
	gateway.Undrain(t, sim)
	gateway.Get(t, "/health", &h)
	if h.Upstreams[0].State != upstreams.StateUp {
		t.Errorf("upstream %+v, want it up again", h.Upstreams[0])
	}
}
