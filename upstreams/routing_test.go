//go:build !race

package upstreams

import (
	"bufio"
	"compress/gzip"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strconv"
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
	if strings.HasSuffix(path, ".csv.gz") {
		return readSizes(t, z, n)
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

// readSizes reads a trace as Azure's: time, tokens of the prompt, tokens of the answer. No
// two prompts share a block.
func readSizes(t *testing.T, from io.Reader, n int) []routed {
	t.Helper()
	rows := csv.NewReader(from)
	if _, err := rows.Read(); err != nil { // the header
		t.Fatal(err)
	}
	var all []routed
	var first time.Time
	block := 0
	for len(all) < n {
		row, err := rows.Read()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		at, err := time.Parse("2006-01-02 15:04:05", row[0])
		prompt, promptErr := strconv.Atoi(row[1])
		answer, answerErr := strconv.Atoi(row[2])
		if err := errors.Join(err, promptErr, answerErr); err != nil {
			t.Fatal(err)
		}
		if len(all) == 0 {
			first = at
		}
		r := routed{Timestamp: float64(at.Sub(first)) / 1e6, InputLength: prompt, OutputLength: answer}
		block = r.fill(block)
		all = append(all, r)
	}
	return all
}

// fill numbers the blocks of the prompt from block+1 on, and returns the last number.
func (r *routed) fill(block int) int {
	for range (r.InputLength + routedBlock - 1) / routedBlock {
		block++
		r.HashIDs = append(r.HashIDs, block)
	}
	return block
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
	rate   float64 // requests per second, until the last one arrived
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
		result.rate = float64(len(trace)) * 1000 * speed / trace[len(trace)-1].Timestamp
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
// instead, several separated by commas; the balancer is work or load. FILE is Mooncake's
// .jsonl.gz or Azure's .csv.gz.
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

// independent returns requests that share nothing, at a rate per second. Sizes are
// log-normal, with the means of Azure's conversations: 1,000 tokens of prompt, 200 of
// answer.
func independent(n int, rate float64) []routed {
	random := rand.New(rand.NewPCG(15, 3))
	tokens := func(mean float64) int {
		return max(1, int(math.Exp(math.Log(mean)-0.5+random.NormFloat64())))
	}
	all := make([]routed, n)
	at, block := 0.0, 0
	for i := range all {
		at += random.ExpFloat64() * 1000 / rate
		all[i] = routed{Timestamp: at, InputLength: tokens(1000), OutputLength: tokens(200)}
		block = all[i].fill(block)
	}
	return all
}

// TestRoutingUnderLoad checks that LeastWork is no worse than LeastLoad when prompts share
// nothing and the servers are nearly full: no server is taken for a much faster one.
func TestRoutingUnderLoad(t *testing.T) {
	trace := independent(3000, 52)
	work, load := replay(t, trace, 4, 1, LeastWork{}), replay(t, trace, 4, 1, LeastLoad{})
	t.Logf("least work: %v\nleast load: %v", work, load)
	if got, most := quantile(work.ttft, 0.99), quantile(load.ttft, 0.99); got > most {
		t.Errorf("got a TTFT p99 of %v, want at most %v", got, most)
	}
}
