package chaos

import (
	"cmp"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tidegate/tidegate/integration/tidegatetest"
	"github.com/tidegate/tidegate/internal/openai"
	"github.com/tidegate/tidegate/internal/proxytest"
)

const (
	inFlight   = 40 // lines, of each gateway
	lease      = 3 * time.Second
	simTTFT    = "120ms"          // so that lines are in flight at a fault
	clients    = 6                // at once
	reported   = 15               // number of problems that a test reports
	progressIn = 60 * time.Second // after the end of a fault
)

// world has the processes of a test: gateways that share a backend, simulated servers
// without faults, and clients.
type world struct {
	t        *testing.T
	random   *rand.Rand // of the faults
	servers  *tidegatetest.Servers
	backend  *tidegatetest.Backend
	sims     []*tidegatetest.Sim
	gateways []*tidegatetest.Gateway
	proxies  []*proxytest.Proxy // to PostgreSQL, that of each gateway

	prefix     int // see plan
	began      time.Time
	closing    atomic.Bool  // no more sessions are started
	progressed atomic.Int64 // how often clients saw progress of a batch
	working    sync.WaitGroup

	mu       sync.Mutex
	sessions int          // guarded by mu; over
	lines    int64        // guarded by mu; of batches that were completed
	left     []left       // guarded by mu
	usage    openai.Usage // guarded by mu; of all batches, including deleted ones
	kept     openai.Usage // guarded by mu; of the batches in left
	unknown  bool         // guarded by mu; the usage of some batch is
	problems int          // guarded by mu; reported

	named     int   // clients so far
	mayRepeat int64 // number of calls that may be repeated, from lines in flight at faults so far
}

// left is an ended batch that was not deleted, as last received, and its files that were
// read.
type left struct {
	openai.Batch
	contents map[string][sha256.Size]byte
}

// plan is the configuration of a world.
type plan struct {
	gateways int
	clients  int
	inFlight int    // lines, of each gateway; 0: the usual
	prefix   int    // bytes that the prompts of groups of lines share
	batch    string // further settings
	proxied  bool   // each gateway reaches PostgreSQL through a proxy of its own
}

// newWorld starts gateways on a backend of servers, and clients.
func newWorld(t *testing.T, servers *tidegatetest.Servers, p plan) *world {
	t.Helper()
	w := &world{t: t, prefix: p.prefix, began: time.Now(), random: newRandom(t), servers: servers, backend: servers.NewBackend(t)}
	w.backend.MaxConns = 8
	p.inFlight = cmp.Or(p.inFlight, inFlight)
	w.sims = tidegatetest.StartSims(t, 2, "--ttft", simTTFT)
	for range p.gateways {
		b := w.backend
		if p.proxied {
			proxy := proxytest.Start(t, servers.Postgres.Addr())
			w.proxies = append(w.proxies, proxy)
			b = b.Via(t, proxy.Addr)
		}
		w.gateways = append(w.gateways, tidegatetest.Run(t, tidegatetest.Settings{
			Sims: w.sims, App: b.App(),
			Batch: fmt.Sprintf("max_in_flight %d\n lease %s\n retry_backoff 20ms 100ms\n collect_interval 2s\n%s", p.inFlight, lease, p.batch),
		}))
	}
	for range p.clients {
		c := w.newClient()
		w.working.Go(c.run)
	}
	t.Cleanup(func() { // when the test ended early
		w.closing.Store(true)
		w.working.Wait()
	})
	return w
}

// newClient returns a client with a unique name and its own random source. It is called by
// one goroutine at a time.
func (w *world) newClient() *client {
	w.named++
	return &client{
		world: w, name: fmt.Sprintf("c%d-%x", w.named, w.random.Uint32()),
		wishes: newChance(w.random), random: newChance(w.random),
	}
}

// over judges an ended session.
func (w *world) over(s *session) {
	problems := judge(s)
	w.report(problems...)
	w.mu.Lock()
	defer w.mu.Unlock()
	w.sessions++
	if len(problems) > 0 {
		s.keep(w.t)
		return
	}
	b, contents, deleted := outcome(s)
	if b.Status == "completed" {
		w.lines += int64(s.Lines)
	}
	w.usage.InputTokens += b.Usage.InputTokens
	w.usage.OutputTokens += b.Usage.OutputTokens
	w.unknown = w.unknown || rank[b.Status] != ended // another has deleted it
	if !deleted {
		w.left = append(w.left, left{b, contents})
		w.kept.InputTokens += b.Usage.InputTokens
		w.kept.OutputTokens += b.Usage.OutputTokens
	}
}

// report fails the test for each problem, and names the first.
func (w *world) report(problems ...string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, p := range problems {
		if w.problems++; w.problems <= reported {
			w.t.Error(p)
		}
	}
	if w.problems > reported {
		w.t.Fail()
	}
}

// wantProgress waits until clients see progress of a batch.
func (w *world) wantProgress(limit time.Duration, after string) {
	w.t.Helper()
	before := w.progressed.Load()
	tidegatetest.Eventually(w.t, limit, "progress after "+after, func() bool { return w.progressed.Load() > before })
}

// wantWell waits until every gateway reports the status ok.
func (w *world) wantWell() {
	w.t.Helper()
	for _, g := range w.gateways {
		tidegatetest.Eventually(w.t, time.Minute, "status ok", func() bool {
			h, ok := w.healthOf(g)
			return ok && h.Status == "ok"
		})
	}
}

// finish has the clients end their sessions and holds everything together. It
// counts calls that were repeated.
func (w *world) finish() (repeated int64) {
	t := w.t
	t.Helper()
	w.closing.Store(true)
	w.working.Wait()
	w.wantWell()
	for i, g := range w.gateways {
		w.wantKept(g, i)
		w.wantUsage(g)
	}
	distinct, repeated := w.wantFewRepeats("all")
	if distinct < w.lines {
		t.Errorf("%d lines have a result, and only %d were ever sent", w.lines, distinct)
	}
	if w.sessions < w.named {
		t.Errorf("only %d sessions of %d clients", w.sessions, w.named)
	}
	t.Logf("%d sessions, %d lines completed, %d calls repeated of at most %d, %d problems", w.sessions, w.lines, repeated, w.mayRepeat, w.problems)
	return repeated
}

// wantKept checks that a gateway returns every batch as at its end, and one of nth files
// unchanged.
func (w *world) wantKept(g *tidegatetest.Gateway, nth int) {
	w.t.Helper()
	for i, b := range w.left {
		if got := g.Batch(w.t, b.ID); got.Status != b.Status || got.RequestCounts != b.RequestCounts {
			w.report(fmt.Sprintf("%s was %s with %+v at last, and %s says %s with %+v", b.ID, b.Status, b.RequestCounts, g.URL, got.Status, got.RequestCounts))
		}
		if i%len(w.gateways) != nth {
			continue
		}
		for id, sum := range b.contents {
			status, content, err := g.Call(w.t.Context(), http.MethodGet, "/v1/files/"+id+"/content", "", nil)
			if err != nil || status != http.StatusOK || sha256.Sum256(content) != sum {
				w.report(fmt.Sprintf("the content of %s of %s is not what it was: %d, %d bytes (%v)", id, b.ID, status, len(content), err))
			}
		}
	}
}

// reportTime is slightly less than the period of the usage report and of the counters.
const reportTime = 23 * time.Hour

// wantUsage checks that a gateway's counters of usage are the sum of the usage of all
// batches, and its usage report that of the batches that are not deleted.
func (w *world) wantUsage(g *tidegatetest.Gateway) {
	w.t.Helper()
	if w.unknown || w.problems > 0 || time.Since(w.began) > reportTime {
		return
	}
	var report struct {
		Summary struct {
			Input  int64 `json:"total_input_tokens"`
			Output int64 `json:"total_output_tokens"`
		}
	}
	g.Get(w.t, "/v1/batches/analytics/tokens", &report)
	if s := report.Summary; s.Input != w.kept.InputTokens || s.Output != w.kept.OutputTokens {
		w.report(fmt.Sprintf("%s reports a usage of %+v, want %+v, the sum of the batches that are not deleted", g.URL, s, w.kept))
	}
	if c := g.BatchThroughput(w.t); c.InputTokens != w.usage.InputTokens || c.OutputTokens != w.usage.OutputTokens {
		w.report(fmt.Sprintf("%s counts a usage of %+v, want %+v, the sum of all batches", g.URL, c, w.usage))
	}
}

// wantFewRepeats checks that at most as many calls were repeated as lines were in flight at
// faults. It returns the numbers of distinct and of repeated calls.
func (w *world) wantFewRepeats(after string) (distinct, repeated int64) {
	w.t.Helper()
	for _, c := range tidegatetest.TotalCalls(w.t, w.sims...) {
		distinct++
		repeated += c.Received - 1
	}
	if repeated > w.mayRepeat {
		w.report(fmt.Sprintf("after %s %d calls were repeated, and at most %d were in flight at faults", after, repeated, w.mayRepeat))
	}
	return distinct, repeated
}

func (w *world) healthOf(g *tidegatetest.Gateway) (h tidegatetest.Health, ok bool) {
	status, answer, err := g.Call(w.t.Context(), http.MethodGet, "/health", "", nil)
	return h, err == nil && status == http.StatusOK && json.Unmarshal(answer, &h) == nil
}

// wantUnwell waits until a gateway reports a fault that has begun: a fault without effect
// tests nothing.
func (w *world) wantUnwell(g *tidegatetest.Gateway, fault string) {
	w.t.Helper()
	tidegatetest.Eventually(w.t, progressIn, "a gateway to feel "+fault, func() bool {
		h, ok := w.healthOf(g)
		return ok && h.Status != "ok"
	})
}
