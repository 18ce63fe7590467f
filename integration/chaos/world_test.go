package chaos

import (
	"cmp"
	"fmt"
	"math/rand/v2"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tidegate/tidegate/integration/tidegatetest"
	"github.com/tidegate/tidegate/internal/openai"
)

const (
	inFlight   = 40 // lines, of each gateway
	lease      = 3 * time.Second
	simTTFT    = "120ms"          // so that lines are in flight when something breaks
	clients    = 6                // at once
	reported   = 15               // problems, before a test names no more
	progressIn = 60 * time.Second // after a fault is over
)

// world is what a test breaks: gateways that share a backend, simulated servers
// that stay whole, and clients.
type world struct {
	t        *testing.T
	random   *rand.Rand // of the faults
	servers  *tidegatetest.Servers
	backend  *tidegatetest.Backend
	sims     []*tidegatetest.Sim
	gateways []*tidegatetest.Gateway

	closing    atomic.Bool  // no more sessions are begun
	progressed atomic.Int64 // how often clients saw a batch get on
	working    sync.WaitGroup

	mu       sync.Mutex
	sessions int            // guarded by mu; over
	lines    int64          // guarded by mu; of batches that were completed
	left     []openai.Batch // guarded by mu; ended and not deleted, as they were last told
	problems int            // guarded by mu; reported

	named     int   // clients so far
	mayRepeat int64 // calls, for what was in flight at faults so far
}

// plan says what a world is made of.
type plan struct {
	gateways int
	clients  int
	inFlight int    // lines, of each gateway; 0: the usual
	batch    string // further settings
	// reach gives the way by which a gateway reaches the backend; nil for the
	// straight one.
	reach func(b *tidegatetest.Backend) *tidegatetest.Backend
}

// newWorld starts gateways on a backend of servers, and clients.
func newWorld(t *testing.T, servers *tidegatetest.Servers, p plan) *world {
	t.Helper()
	w := &world{t: t, random: newRandom(t), servers: servers, backend: servers.NewBackend(t)}
	w.backend.MaxConns = 8
	p.inFlight = cmp.Or(p.inFlight, inFlight)
	w.sims = tidegatetest.StartSims(t, 2, "--ttft", simTTFT)
	for range p.gateways {
		b := w.backend
		if p.reach != nil {
			b = p.reach(b)
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

// newClient makes a client with a name and a chance of its own. It is called by
// one goroutine at a time.
func (w *world) newClient() *client {
	w.named++
	return &client{
		world: w, name: fmt.Sprintf("c%d-%x", w.named, w.random.Uint32()),
		random: newChance(w.random),
	}
}

// over judges a session that is over.
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
	b, deleted := outcome(s)
	if b.Status == "completed" {
		w.lines += int64(s.Lines)
	}
	if !deleted {
		w.left = append(w.left, b)
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

// wantProgress waits until clients see some batch get on.
func (w *world) wantProgress(limit time.Duration, after string) {
	w.t.Helper()
	before := w.progressed.Load()
	tidegatetest.Eventually(w.t, limit, "progress after "+after, func() bool { return w.progressed.Load() > before })
}

// wantWell waits until every gateway says that all is well.
func (w *world) wantWell() {
	w.t.Helper()
	for _, g := range w.gateways {
		tidegatetest.Eventually(w.t, time.Minute, "all is well", func() bool {
			status, answer, err := g.Call(w.t.Context(), http.MethodGet, "/health", "", nil)
			return err == nil && status == http.StatusOK && healthy(answer)
		})
	}
}

// finish has the clients end their sessions and holds everything together.
func (w *world) finish() {
	t := w.t
	t.Helper()
	w.closing.Store(true)
	w.working.Wait()
	w.wantWell()
	for _, g := range w.gateways {
		for _, b := range w.left {
			if got := g.Batch(t, b.ID); got.Status != b.Status || got.RequestCounts != b.RequestCounts {
				w.report(fmt.Sprintf("%s was %s with %+v at last, and %s says %s with %+v", b.ID, b.Status, b.RequestCounts, g.URL, got.Status, got.RequestCounts))
			}
		}
	}
	var distinct, repeated int64
	for _, c := range tidegatetest.TotalCalls(t, w.sims...) {
		distinct++
		repeated += c.Received - 1
	}
	if distinct < w.lines {
		t.Errorf("%d lines have a result, and only %d were ever sent", w.lines, distinct)
	}
	if repeated > w.mayRepeat {
		t.Errorf("%d calls were repeated, and at most %d were in flight at faults", repeated, w.mayRepeat)
	}
	if w.sessions < w.named {
		t.Errorf("only %d sessions of %d clients", w.sessions, w.named)
	}
	t.Logf("%d sessions, %d lines completed, %d calls repeated of at most %d, %d problems", w.sessions, w.lines, repeated, w.mayRepeat, w.problems)
}
