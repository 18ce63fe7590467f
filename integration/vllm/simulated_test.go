package vllm

import (
	"net/http/httptest"
	"testing"

	"github.com/tidegate/tidegate/internal/vllmsim"
	"github.com/tidegate/tidegate/internal/vllmsim/engine"
	"github.com/tidegate/tidegate/internal/vllmtest"
)

// TestSimulatedVLLM runs the tests of real servers on simulated ones: what they require
// of vLLM, the simulation has as well. It needs no installation of vLLM. It omits tools,
// because the simulation has no grammar and calls a tool with its own text; priority,
// whose order a busy machine can change on the way to the client, and which the
// simulation's own tests check on a virtual clock; and the tests that signal processes.
func TestSimulatedVLLM(t *testing.T) {
	s := &suite{abortLimit: metricsLimit} // no time limit: it would be one of the machine
	for range 2 {
		s.servers = append(s.servers, simulate(t))
	}
	for _, test := range []struct {
		name string
		run  func(*testing.T)
	}{
		{"models", s.models},
		{"metric names", s.metricNames},
		{"doctor", s.doctor},
		{"answers", s.answers},
		{"logprobs", s.logprobs},
		{"cached tokens", s.cachedTokens},
		{"context length", s.contextLength},
		{"abort", s.abort},
		{"batch", s.batch},
		{"shared prefixes in a batch", s.prefixBatch},
		{"conversation", s.conversation},
	} {
		t.Run(test.name, test.run)
	}
}

// simulatedSpeed makes the simulation about as fast as the tiny model on a processor.
const simulatedSpeed = 4

// simulate starts a simulated server with the settings of launch.
func simulate(t *testing.T) *vllmtest.Server {
	t.Helper()
	spec := engine.Specs["h100-8b"]
	sim := vllmsim.New(vllmsim.Config{
		Models: []string{model}, Engine: &spec, Speed: simulatedSpeed, MaxNumSeqs: maxNumSeqs, MaxModelLen: vllmtest.MaxModelLen,
		PriorityScheduling: true,
	})
	server := httptest.NewServer(sim)
	t.Cleanup(func() {
		sim.Close()
		server.CloseClientConnections()
		server.Close()
	})
	return &vllmtest.Server{URL: server.URL, Model: model}
}

// simulatedMetrics checks that the simulation exports no metric that this vLLM does not
// have.
func (s *suite) simulatedMetrics(t *testing.T) {
	there := metrics(t, s.servers[0])
	for name := range metrics(t, simulate(t)) {
		if _, exists := there[name]; !exists {
			t.Errorf("the simulation exports %s, which this vLLM does not have", name)
		}
	}
}
