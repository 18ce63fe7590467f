package vllm

import (
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tidegate/tidegate/integration/tidegatetest"
)

// upstream is a server in the gateway's GET /health.
type upstream struct {
	URL         string
	State       string
	Reason      string
	Models      []string
	Version     string
	MaxModelLen int64 `json:"max_model_len"`
	HasMetrics  bool  `json:"has_metrics"`
	Live        int   `json:"live_in_flight"`
}

// upstreams are those of a gateway, in the order of its configuration.
func upstreams(t *testing.T, g *tidegatetest.Gateway) []upstream {
	t.Helper()
	var health struct{ Upstreams []upstream }
	g.Get(t, "/health", &health)
	return health.Upstreams
}

// awaitUp waits until all servers of a gateway are up.
func awaitUp(t *testing.T, g *tidegatetest.Gateway, limit time.Duration) {
	t.Helper()
	tidegatetest.Eventually(t, limit, "the servers to be up", func() bool {
		return !slices.ContainsFunc(upstreams(t, g), func(u upstream) bool { return u.State != "up" })
	})
}

// loadLimit limits the loading time of two servers on a shared machine.
const loadLimit = 8 * time.Minute

// A server that loads refuses connections. The gateway says so, answers requests
// with 503, and sends them there as soon as it listens.
func (s *suite) loading(t *testing.T) {
	listen := tidegatetest.FreeAddr(t)
	argv := []string{tidegatetest.Binary(t), "serve", "--listen", listen, "--data", t.TempDir()}
	for _, url := range urls(s.servers) {
		argv = append(argv, "--upstream", url)
	}
	// GET /ready fails meanwhile, so GET /health says when the gateway runs.
	gateway := tidegatetest.Start(t, "http://"+listen, "http://"+listen+"/health", nil, argv...)

	tidegatetest.Eventually(t, 10*time.Second, "the servers to be loading", func() bool {
		return !slices.ContainsFunc(upstreams(t, gateway), func(u upstream) bool {
			return u.State != "loading" || !strings.Contains(u.Reason, "refused")
		})
	})
	got, err := post(t.Context(), gateway.URL, chatPath, chat("Too early.", 1))
	if err != nil || got.status != http.StatusServiceUnavailable {
		t.Errorf("while no server listens the answer is %d, %v: %s; want 503", got.status, err, got.body)
	}
	awaitUp(t, gateway, loadLimit)
	ask(t, gateway.URL, chatPath, chat("At last.", 1))
	// The first metrics are read after the server is up.
	var all []upstream
	if !tidegatetest.Poll(metricsLimit, func() bool {
		all = upstreams(t, gateway)
		return !slices.ContainsFunc(all, func(u upstream) bool {
			return u.Version == "" || !u.HasMetrics || !slices.Equal(u.Models, []string{model}) || u.MaxModelLen != 2048
		})
	}) {
		t.Errorf("servers that are up are %+v, want version, metrics, model and context length of each", all)
	}
	for _, u := range all {
		t.Logf("%s: vLLM %s", u.URL, u.Version)
	}
}
