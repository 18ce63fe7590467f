//go:build !race

package upstreams

import (
	"bufio"
	"compress/gzip"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// routed is a request of a trace: blocks of 512 tokens, the last of which may be
// shorter, as in Mooncake's traces.
type routed struct {
	Timestamp    float64 `json:"timestamp"` // milliseconds
	InputLength  int     `json:"input_length"`
	OutputLength int     `json:"output_length"`
	HashIDs      []int   `json:"hash_ids"`
}

const routedBlock = 512 // tokens

// conversations returns the requests of conversations that come back, in order of time.
func conversations(n, turns int) []routed {
	random := rand.New(rand.NewPCG(1, 2))
	var all []routed
	for c := range n {
		at := random.Float64() * 30_000
		var ids []int
		for turn := range turns {
			for i := range 4 {
				ids = append(ids, 1000*c+4*turn+i)
			}
			all = append(all, routed{at, routedBlock * len(ids), 16, slices.Clone(ids)})
			at += 3_000 + random.Float64()*6_000
		}
	}
	slices.SortFunc(all, func(a, b routed) int { return int(a.Timestamp - b.Timestamp) })
	return all
}

// readTrace returns the first n requests of a file of JSON lines, compressed with gzip.
func readTrace(t *testing.T, path string, n int) []routed {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	var all []routed
	lines := bufio.NewScanner(z)
	for lines.Scan() && len(all) < n {
		var r routed
		if err := json.Unmarshal(lines.Bytes(), &r); err != nil {
			t.Fatal(err)
		}
		all = append(all, r)
	}
	if err := lines.Err(); err != nil {
		t.Fatal(err)
	}
	return all
}

// body returns a chat whose text is equal where the blocks are.
func (r *routed) body() string {
	var b strings.Builder
	fmt.Fprintf(&b, `{"model":%q,"stream":true,"stream_options":{"include_usage":true},"max_tokens":%d,"messages":[{"role":"user","content":"`, model, r.OutputLength)
	for i, id := range r.HashIDs {
		tokens := routedBlock
		if i == len(r.HashIDs)-1 {
			tokens = max(1, r.InputLength-routedBlock*i)
		}
		word := fmt.Sprintf("%08x", uint32(id)*2654435761) // 2 tokens
		b.WriteString(strings.Repeat(word, tokens/2+1)[:4*tokens])
	}
	fmt.Fprintf(&b, ` [[sim:tokens=%d]]"}]}`, r.OutputLength)
	return b.String()
}

// routing is the result of a trace.
type routing struct {
	ttft   []time.Duration
	cached float64 // part of the prompts' tokens
	rate   float64 // requests per second
}

func (r *routing) String() string {
	return fmt.Sprintf("%.2f requests/s, TTFT p50 %v p90 %v p99 %v, %.3f of the prompts cached", r.rate, quantile(r.ttft, 0.5), quantile(r.ttft, 0.9), quantile(r.ttft, 0.99), r.cached)
}

// replay sends the requests of a trace, speed times as fast, on a number of simulated GPUs.
func replay(t *testing.T, trace []routed, servers int, speed float64, b Balancer) *routing {
	t.Helper()
	result := new(routing)
	onGPUs(t, slices.Repeat([]gpu{{slower: 1}}, servers), func(t *testing.T, w *gpus) {
		w.cfg.BatchPrice, w.cfg.Balancer = -1, b
		if err := w.pool.Apply(w.cfg); err != nil {
			t.Fatal(err)
		}
		var work sync.WaitGroup
		var mu sync.Mutex
		start := time.Now()
		for i := range trace {
			r := &trace[i]
			time.Sleep(time.Until(start.Add(time.Duration(r.Timestamp / speed * 1e6))))
			work.Go(func() {
				request := httptest.NewRequestWithContext(t.Context(), http.MethodPost, endpoint, strings.NewReader(r.body()))
				request.Header.Set("Content-Type", "application/json")
				client := &stopwatch{header: http.Header{}}
				began := time.Now()
				w.proxy.ServeHTTP(client, request)
				mu.Lock()
				defer mu.Unlock()
				if len(client.tokens) == 0 {
					t.Errorf("request %d got status %d and no token", i, client.code)
					return
				}
				result.ttft = append(result.ttft, client.tokens[0].Sub(began))
			})
		}
		work.Wait()
		result.rate = float64(len(trace)) / time.Since(start).Seconds()
		var cached, prompt int64
		for _, s := range w.pool.Status() {
			cached, prompt = cached+s.Prefixes.CachedTokens, prompt+s.Prefixes.PromptTokens
		}
		result.cached = float64(cached) / float64(max(1, prompt))
	})
	return result
}

// TestRouting checks that LeastWork finds more of the prompts of conversations in the
// prefix caches than LeastLoad, and so has a lower time to first token. With
// TIDEGATE_ROUTING="FILE SERVERS REQUESTS SPEED BALANCER" and -v it replays traces
// instead, several separated by commas; the balancer is work or load.
func TestRouting(t *testing.T) {
	balancers := map[string]Balancer{"work": LeastWork{}, "load": LeastLoad{}}
	if other := os.Getenv("TIDEGATE_ROUTING"); other != "" {
		for run := range strings.SplitSeq(other, ",") {
			var path, balancer string
			var servers, n int
			var speed float64
			if _, err := fmt.Sscan(run, &path, &servers, &n, &speed, &balancer); err != nil || balancers[balancer] == nil {
				t.Fatalf("TIDEGATE_ROUTING: %q: %v", run, err)
			}
			t.Logf("%s: %v", run, replay(t, readTrace(t, path, n), servers, speed, balancers[balancer]))
		}
		return
	}
	trace := conversations(50, 5)
	work, load := replay(t, trace, 4, 1, LeastWork{}), replay(t, trace, 4, 1, LeastLoad{})
	t.Logf("least work: %v\nleast load: %v", work, load)
	if work.cached < 1.2*load.cached {
		t.Errorf("got %.3f of the prompts cached, want clearly more than %.3f", work.cached, load.cached)
	}
	if got, want := quantile(work.ttft, 0.99), quantile(load.ttft, 0.99)*9/10; got > want {
		t.Errorf("got a TTFT p99 of %v, want at most %v", got, want)
	}
}
