package vllm

import (
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/tidegate/tidegate/integration/tidegatetest"
)

const (
	hangLimit    = time.Minute // from the engine's last step until the gateway has found it
	recoverLimit = time.Minute // until it is used again
)

// An engine that stops is found although its server answers health checks: the
// server is suspect, others take the requests, and it is up again when it continues.
func (s *suite) hungEngine(t *testing.T) {
	hung := s.servers[0]
	gateway := s.serve(t)
	streams := startStreams(t, gateway, 4)
	tidegatetest.Eventually(t, metricsLimit, "requests to run on both servers", func() bool {
		return metrics(t, s.servers[0])[running] > 0 && metrics(t, s.servers[1])[running] > 0
	})
	if err := hung.SignalEngine(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	stopped := time.Now()
	t.Cleanup(func() {
		if err := hung.SignalEngine(syscall.SIGCONT); err != nil {
			t.Error(err)
		}
	})
	tidegatetest.Eventually(t, hangLimit, "the server to be suspect", func() bool {
		u := upstreams(t, gateway)[0]
		return u.State == "suspect" && strings.Contains(u.Reason, "hangs")
	})
	t.Logf("found %s after the engine's last step", time.Since(stopped).Round(100*time.Millisecond))
	for range 4 {
		ask(t, gateway.URL, chatPath, chat("Who answers?", 4))
	}
	if err := hung.SignalEngine(syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	tidegatetest.Eventually(t, recoverLimit, "the server to be up again", func() bool { return upstreams(t, gateway)[0].State == "up" })
	for _, l := range streams.wait() {
		if l.Err != nil || !l.Done || l.Failure != "" {
			t.Errorf("stream of a hung engine: got %+v", l)
		}
	}
}
