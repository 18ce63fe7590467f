package several

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/tidegate/tidegate/batch"
	"github.com/tidegate/tidegate/integration/tidegatetest"
	"github.com/tidegate/tidegate/internal/openai"
)

// roles returns the roles of the gateways in the health of g.
func roles(t *testing.T, g *tidegatetest.Gateway) (list []batch.Role) {
	t.Helper()
	for _, other := range g.Health(t).Batch.Gateways {
		list = append(list, other.Role)
	}
	return list
}

func count(list []batch.Role, role batch.Role) (n int) {
	for _, r := range list {
		if r == role {
			n++
		}
	}
	return n
}

// A gateway that only serves, one that only works, and one without any listener
// for clients share the work: each does only its part, and health and the dashboard show
// the roles.
func TestRoles(t *testing.T) {
	t.Parallel()
	s := newShared(t)
	sims := tidegatetest.StartSims(t, 2, "--ttft", "40ms")
	settings := s.settings(sims, inFlight)

	serving := settings
	serving.App += "role serve\n"
	front := tidegatetest.Run(t, serving)

	// Live requests are answered and a batch is accepted; it waits, and health says
	// for what.
	body := tidegatetest.ChatBody(t, "hello", false)
	if err := front.Chat(t.Context(), body, nil).Check(body, false); err != nil {
		t.Error(err)
	}
	input := ask(t, "divided", lines)
	id := front.Submit(t, input).ID
	tidegatetest.Eventually(t, 30*time.Second, "health says that no gateway works", func() bool {
		h := front.Health(t)
		return h.Status == "degraded" && strings.Contains(strings.Join(h.Batch.Paused, "\n"), "no gateway works on batches")
	})

	// One works behind a site, one has no site at all.
	working := settings
	working.App += "role work\n"
	worker := tidegatetest.RunWorker(t, working)
	hidden := settings
	hidden.NoSite = true
	apart := tidegatetest.RunWorker(t, hidden)
	tidegatetest.Eventually(t, 30*time.Second, "health lists who does what", func() bool {
		known := roles(t, front)
		return len(known) == 3 && known[0] == batch.RoleServe && count(known, batch.RoleWork) == 2
	})
	status, page, err := front.Call(t.Context(), http.MethodGet, "/dashboard", "", nil)
	if err != nil || status != http.StatusOK {
		t.Fatalf("the dashboard answers %d: %v", status, err)
	}
	for _, want := range []string{"live requests and the API", "batch work"} {
		if !strings.Contains(string(page), want) {
			t.Errorf("the dashboard does not contain %q", want)
		}
	}
	wantCompleted(t, front, id, input, lines)
	if n := front.Metric(t, `tidegate_batch_lines_total{outcome="completed"}`); n != 0 {
		t.Errorf("the gateway that serves ran %.0f lines", n)
	}
	if n := worker.Metric(t, `tidegate_batch_lines_total{outcome="completed"}`); n == 0 || n == lines {
		t.Errorf("the gateway that works ran %.0f lines of %d, want a part", n, lines)
	}
	if _, again := repeated(t, sims); again != 0 {
		t.Errorf("%d calls repeated", again)
	}
	wantWaiting(t, front, worker, apart)

	// Clients that come to the one that works are sent away, and so is a balancer.
	for _, c := range []struct {
		method, path string
		body         []byte
	}{
		{http.MethodPost, tidegatetest.ChatPath, body},
		{http.MethodGet, "/v1/models", nil},
		{http.MethodGet, "/v1/batches", nil},
		{http.MethodGet, "/v1/files", nil},
		{http.MethodGet, "/ready", nil},
	} {
		status, answer, err := worker.Call(t.Context(), c.method, c.path, "application/json", c.body)
		if err != nil || status != http.StatusServiceUnavailable || !strings.Contains(string(answer), "role work") {
			t.Errorf("%s %s on the gateway that works: %d %s %v", c.method, c.path, status, answer, err)
		}
	}
	if status, answer, err := worker.Call(t.Context(), http.MethodGet, "/health", "", nil); err != nil || status != http.StatusOK {
		t.Errorf("its health: %d %s %v", status, answer, err)
	}
	var report struct {
		MaxWorkers *int `json:"max_workers"`
	}
	if front.Get(t, "/v1/batches/status", &report); report.MaxWorkers == nil || *report.MaxWorkers != 0 {
		t.Errorf("the gateway that serves has %v workers, want 0", report.MaxWorkers)
	}
	if status, page, err := worker.Call(t.Context(), http.MethodGet, "/dashboard/batches", "", nil); err != nil || status != http.StatusOK || strings.Contains(string(page), "/dashboard/new") {
		t.Errorf("its dashboard offers to create batches: %d %v", status, err)
	}
	if status, answer, err := worker.Call(t.Context(), http.MethodPost, "/dashboard/new/upload", "multipart/form-data; boundary=x", []byte("--x--\r\n")); err != nil || status != http.StatusForbidden {
		t.Errorf("its dashboard accepts an upload: %d %s %v", status, answer, err)
	}
}

// wantWaiting checks that a gateway that only serves and those that work export the same
// number of lines that wait: those that none of them has in flight.
func wantWaiting(t *testing.T, front *tidegatetest.Gateway, workers ...*tidegatetest.Gateway) {
	t.Helper()
	const lines = 300
	id := front.Submit(t, tidegatetest.BatchInput(t, lines, func(i int) string { return fmt.Sprintf("held, line %d [[sim:slow=2m]]", i) })).ID
	tidegatetest.Eventually(t, time.Minute, "all gateways export the lines that none has in flight", func() bool {
		want := float64(lines)
		for _, g := range workers {
			running := g.Metric(t, "tidegate_batch_lines_in_flight")
			if running == 0 {
				return false
			}
			want -= running
		}
		for _, g := range append(workers, front) {
			if got, ok := g.FindMetric(t, `tidegate_batch_lines_waiting{model="`+tidegatetest.Model+`"}`); !ok || got != want {
				return false
			}
		}
		return want > 0 && front.Metric(t, "tidegate_batch_lines_in_flight") == 0
	})
	front.CancelBatch(t, id)
	if b := front.WaitEnd(t, id, time.Minute); b.Status != "cancelled" {
		t.Errorf("the held batch is %s, want cancelled", b.Status)
	}
}

// A reload to batch off and back loses no line and repeats none.
func TestBatchOffByReload(t *testing.T) {
	t.Parallel()
	s := newShared(t)
	sims := tidegatetest.StartSims(t, 1, "--ttft", "60ms")
	settings := s.settings(sims, inFlight)
	g := tidegatetest.Run(t, settings)
	input := ask(t, "off and on", lines)
	id := g.Submit(t, input).ID
	g.WaitCompleted(t, id, 100, time.Minute)
	off := settings
	off.BatchOff = true
	g.Reload(t, off)
	tidegatetest.Eventually(t, 30*time.Second, "no line runs", func() bool {
		h := g.Health(t)
		return h.Batch.Role == batch.RoleServe && h.Batch.InFlight == 0 && len(h.Batch.Paused) > 0
	})
	before := g.Batch(t, id)
	if before.Status != "in_progress" || before.RequestCounts.Completed == lines {
		t.Fatalf("the batch is %s with %+v", before.Status, before.RequestCounts)
	}
	g.Reload(t, settings)
	b := g.WaitEnd(t, id, 2*time.Minute)
	g.Results(t, b, input)
	if b.RequestCounts != (openai.RequestCounts{Total: lines, Completed: lines}) {
		t.Errorf("it ended with %+v", b.RequestCounts)
	}
	if _, again := repeated(t, sims); again != 0 {
		t.Errorf("%d calls repeated", again)
	}
}
