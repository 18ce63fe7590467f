// Package vllm holds the tests against real vLLM servers. They need an installation
// of vLLM, which scripts/test-vllm makes, and are skipped without.
package vllm

import (
	"context"
	"errors"
	"os"
	"testing"
	"time"

	"github.com/tidegate/tidegate/integration/tidegatetest"
	"github.com/tidegate/tidegate/internal/vllmtest"
)

func TestMain(m *testing.M) { os.Exit(tidegatetest.Main(m)) }

const (
	model      = "tiny"
	maxNumSeqs = 8 // of each server; few, so that requests have to wait
)

// suite is the state that the tests share, because loading a server takes minutes.
type suite struct {
	servers    []*vllmtest.Server // all of the same model
	abortLimit time.Duration
}

// TestVLLM starts two servers and runs every test on them, one after the other. The
// order matters where it is said; each runs alone as well, by -run TestVLLM/NAME.
func TestVLLM(t *testing.T) {
	if !vllmtest.Installed() {
		t.Skipf("needs vLLM: run scripts/test-vllm, which sets %s", vllmtest.VenvVariable)
	}
	s := &suite{abortLimit: abortLimit}
	for range 2 {
		s.launch(t)
	}
	t.Run("loading", s.loading) // first: the servers do not listen yet
	s.awaitReady(t)
	for _, test := range []struct {
		name string
		run  func(*testing.T)
	}{
		{"models", s.models},
		{"metric names", s.metricNames},
		{"simulated metrics", s.simulatedMetrics},
		{"doctor", s.doctor},
		{"answers", s.answers},
		{"tools", s.tools},
		{"logprobs", s.logprobs},
		{"assembled", s.assembled},
		{"cached tokens", s.cachedTokens},
		{"context length", s.contextLength},
		{"abort", s.abort},
		{"priority", s.priority},
		{"batch", s.batch},
		{"shared prefixes in a batch", s.prefixBatch},
		{"conversation", s.conversation},
		{"hung engine", s.hungEngine},
		{"dead engine", s.deadEngine}, // last: one server is gone then
	} {
		t.Run(test.name, test.run)
	}
}

// launch starts a server that ends with the test.
func (s *suite) launch(t *testing.T) {
	t.Helper()
	server, err := vllmtest.Launch(vllmtest.Options{Model: model, MaxNumSeqs: maxNumSeqs, Args: []string{
		"--scheduling-policy", "priority", "--enable-prompt-tokens-details",
		"--enable-auto-tool-choice", "--tool-call-parser", "hermes",
	}})
	if err != nil {
		t.Fatal(err)
	}
	s.servers = append(s.servers, server)
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("log of %s:\n%s", server.URL, server.Log())
		}
		if err := server.Close(); err != nil {
			t.Error(err)
		}
	})
}

// awaitReady waits for all servers, and for their first answers with a grammar and
// with log probabilities, for which they compile code: half a minute was seen.
func (s *suite) awaitReady(t *testing.T) {
	t.Helper()
	ended := make(chan error)
	for _, server := range s.servers {
		go func() { ended <- ready(t.Context(), server) }()
	}
	var err error
	for range s.servers {
		err = errors.Join(err, <-ended)
	}
	if err != nil {
		t.Fatal(err)
	}
}

func ready(ctx context.Context, server *vllmtest.Server) error {
	if err := server.AwaitReady(ctx); err != nil {
		return err
	}
	_, err := post(ctx, server.URL, chatPath, forcedTool(chat("Warm up.", 300)).with(body{"logprobs": true, "top_logprobs": 1}))
	return err
}

// serve starts a gateway in front of servers, by default all, and waits until all are up.
func (s *suite) serve(t *testing.T, servers ...*vllmtest.Server) *tidegatetest.Gateway {
	t.Helper()
	if len(servers) == 0 {
		servers = s.servers
	}
	gateway := tidegatetest.Serve(t, tidegatetest.ServeConfig{Upstreams: urls(servers)})
	awaitUp(t, gateway, time.Minute)
	return gateway
}

func urls(servers []*vllmtest.Server) []string {
	list := make([]string, len(servers))
	for i, server := range servers {
		list[i] = server.URL
	}
	return list
}

// metrics are the sums of the metrics of some servers.
func metrics(t *testing.T, servers ...*vllmtest.Server) map[string]float64 {
	t.Helper()
	sums := make(map[string]float64)
	for _, server := range servers {
		one, err := server.Metrics(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for name, value := range one {
			sums[name] += value
		}
	}
	return sums
}

// Metrics of vLLM that tests read.
const (
	running          = "vllm:num_requests_running"
	waiting          = "vllm:num_requests_waiting"
	promptTokens     = "vllm:prompt_tokens_total"
	generationTokens = "vllm:generation_tokens_total"
)
