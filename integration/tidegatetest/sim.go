package tidegatetest

import (
	"context"
	"encoding/json"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/tidegate/tidegate/internal/vllmsim"
)

// Model is the default model of the simulated servers.
const Model = "sim"

// Sim is a simulated vLLM server as a process.
type Sim struct {
	process
	// URL is the value of --upstream.
	URL string
}

// StartSim starts `tidegate sim` with Model and further arguments.
func StartSim(tb testing.TB, args ...string) *Sim {
	tb.Helper()
	return StartSimAt(tb, FreeAddr(tb), args...)
}

// StartSimAt is StartSim on an address that an upstream names already.
func StartSimAt(tb testing.TB, addr string, args ...string) *Sim {
	tb.Helper()
	s := &Sim{URL: "http://" + addr}
	s.process = process{
		name:  "sim-" + port(addr),
		ready: s.URL + "/health",
		argv:  append([]string{Binary(tb), "sim", "--listen", addr, "--model", Model}, args...),
	}
	startProcess(tb, &s.process)
	return s
}

// StartSims starts n of them.
func StartSims(tb testing.TB, n int, args ...string) []*Sim {
	tb.Helper()
	sims := make([]*Sim, n)
	for i := range sims {
		sims[i] = StartSim(tb, args...)
	}
	return sims
}

// Stats returns the counts of the server since its start or reset.
func (s *Sim) Stats(tb testing.TB) vllmsim.Stats {
	tb.Helper()
	var stats vllmsim.Stats
	s.get(tb, "/sim/stats", &stats)
	return stats
}

// Calls returns the counts of each request to this server by vllmsim.Key.
func (s *Sim) Calls(tb testing.TB) map[string]vllmsim.Calls {
	tb.Helper()
	var calls map[string]vllmsim.Calls
	s.get(tb, "/sim/calls", &calls)
	return calls
}

// CallsNamed returns the counts of the requests "sim-id:ID" whose ID begins with a prefix, by
// ID. It costs one request, however many they are.
func (s *Sim) CallsNamed(tb testing.TB, prefix string) map[string]vllmsim.Calls {
	tb.Helper()
	var calls map[string]vllmsim.Calls
	s.get(tb, "/sim/calls?prefix="+url.QueryEscape(prefix), &calls)
	return calls
}

// CallsTo returns the counts of the requests with the name "sim-id:ID".
func (s *Sim) CallsTo(tb testing.TB, id string) vllmsim.Calls {
	tb.Helper()
	var calls vllmsim.Calls
	s.get(tb, "/sim/calls?key="+id, &calls)
	return calls
}

func (s *Sim) get(tb testing.TB, path string, into any) {
	tb.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, s.URL+path, nil)
	if err != nil {
		tb.Fatal(err)
	}
	answer, err := probes.Do(request)
	if err != nil {
		tb.Fatalf("asking %s: %v", s.name, err)
	}
	defer answer.Body.Close()
	if err := json.NewDecoder(answer.Body).Decode(into); err != nil {
		tb.Fatalf("reading the answer of %s to %s: %v", s.name, path, err)
	}
}

// TotalCalls adds up the calls of several servers.
func TotalCalls(tb testing.TB, sims ...*Sim) map[string]vllmsim.Calls {
	tb.Helper()
	total := map[string]vllmsim.Calls{}
	for _, s := range sims {
		for key, calls := range s.Calls(tb) {
			sum := total[key]
			sum.Received += calls.Received
			sum.Finished += calls.Finished
			sum.Aborted += calls.Aborted
			total[key] = sum
		}
	}
	return total
}

func port(addr string) string {
	_, p, found := strings.Cut(addr, ":")
	if !found {
		return addr
	}
	return p
}
