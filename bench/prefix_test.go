package main

import (
	"bytes"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"github.com/tidegate/tidegate/internal/vllmsim"
	"github.com/tidegate/tidegate/internal/vllmsim/engine"
)

var smallJob = prefixJob{Groups: 6, Lines: 5, Shared: 256, Own: 50, Generate: 3}

// startEngine runs a simulated server with a KV cache of so many tokens in this
// process.
func startEngine(t *testing.T, kv int) *process {
	t.Helper()
	spec := engine.Specs[simulatedEngine]
	spec.KVTokens = kv
	server := vllmsim.New(vllmsim.Config{Models: []string{model}, Engine: &spec, Speed: 1000})
	http := httptest.NewServer(server)
	t.Cleanup(func() { http.Close(); server.Close() })
	return &process{addr: strings.TrimPrefix(http.URL, "http://")}
}

// An engine that evicts nothing computes the tokens that unique counts, in any order of
// the lines, and one whose cache is too small computes more.
func TestUniqueTokens(t *testing.T) {
	unique := smallJob.unique()
	if want := 6*256 + 30*50; unique.Computed != want || unique.Tokens != 30*306 {
		t.Errorf("got %+v, want %d of %d", unique, want, 30*306)
	}
	for name, lines := range map[string][]groupLine{"grouped": smallJob.grouped(), "shuffled": smallJob.shuffled()} {
		for _, kv := range []int{400_000, 600} {
			server := startEngine(t, kv)
			for _, l := range lines {
				if err := postWhole(t.Context(), server.addr, smallJob.body(l)); err != nil {
					t.Fatal(err)
				}
			}
			got, err := fleet{server}.counts(t.Context(), len(lines))
			if err != nil {
				t.Fatal(err)
			}
			forgets := kv == 600 && name == "shuffled"
			if got.Prompt != float64(unique.Tokens) || got.Computed != got.Prompt-got.Cached || (got.Computed > float64(unique.Computed)) != forgets || got.Computed < float64(unique.Computed) {
				t.Errorf("%s with %d tokens of cache: the server counts %+v, want %d of %d computed", name, kv, got, unique.Computed, unique.Tokens)
			}
			if got.Recomputed != 0 || got.Generated != 30*3 {
				t.Errorf("%s: got %+v, want 90 tokens and none computed again", name, got)
			}
		}
	}
}

// The sticky reference computes each prefix once.
func TestSticky(t *testing.T) {
	servers := fleet{startEngine(t, 4000), startEngine(t, 4000)}
	if _, err := smallJob.sticky(t.Context(), servers, 3); err != nil {
		t.Fatal(err)
	}
	got, err := servers.counts(t.Context(), smallJob.size())
	if err != nil {
		t.Fatal(err)
	}
	if want := float64(smallJob.unique().Computed); got.Computed != want || got.Requests != 30 {
		t.Errorf("got %+v, want %.0f tokens computed of 30 requests", got, want)
	}
}

func TestStickyFails(t *testing.T) {
	refusing := httptest.NewServer(http.NotFoundHandler())
	defer refusing.Close()
	if _, err := smallJob.sticky(t.Context(), fleet{{addr: strings.TrimPrefix(refusing.URL, "http://")}}, 3); err == nil || !strings.Contains(err.Error(), "404") {
		t.Errorf("got %v, want the server's refusal", err)
	}
}

// Preempted sequences are read again, which the servers do not count as computed.
func TestRecomputed(t *testing.T) {
	c := engineCounts{Requests: 10, Computed: 1000, Generated: 100, Steps: 1000 + 90}
	if c.settle(); c.Recomputed != 0 {
		t.Errorf("got %v recomputed without preemptions", c.Recomputed)
	}
	c.Preemptions, c.Steps = 2, 1000+88+250
	if c.settle(); c.Recomputed != 250 {
		t.Errorf("got %v recomputed, want 250", c.Recomputed)
	}
}

func TestPrefixJob(t *testing.T) {
	grouped, shuffled := smallJob.grouped(), smallJob.shuffled()
	if slices.Equal(grouped, shuffled) || !slices.Equal(shuffled, smallJob.shuffled()) {
		t.Error("the shuffled order is not one that the seed decides")
	}
	divided := smallJob.divide(4)
	if n := []int{len(divided[0]), len(divided[1]), len(divided[2]), len(divided[3])}; !slices.Equal(n, []int{10, 10, 5, 5}) {
		t.Errorf("got %v lines per server, want 10, 10, 5 and 5", n)
	}
	slices.SortFunc(shuffled, func(a, b groupLine) int { return (a.group-b.group)*100 + a.number - b.number })
	if !slices.Equal(grouped, shuffled) {
		t.Error("the shuffled lines are not those of the groups")
	}
	var file bytes.Buffer
	if err := smallJob.write(&file, grouped); err != nil {
		t.Fatal(err)
	}
	seen := make(map[string]bool)
	for line := range bytes.Lines(file.Bytes()) {
		var l struct{ Body json.RawMessage }
		if err := json.Unmarshal(line, &l); err != nil || len(l.Body) != tokenBytes*(256+50) {
			t.Fatalf("got %d bytes, %v: %s", len(l.Body), err, line)
		}
		seen[string(l.Body)] = true
	}
	if len(seen) != 30 {
		t.Errorf("got %d different requests, want 30", len(seen))
	}
}
