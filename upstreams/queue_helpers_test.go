package upstreams

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"
)

// wantWaiting waits until n requests wait in the gateway.
func wantWaiting(t *testing.T, p *Pool, n int) {
	t.Helper()
	for end := time.Now().Add(deadline); ; time.Sleep(time.Millisecond) {
		waiting := 0
		for _, s := range p.Queues() {
			waiting += s.Waiting
		}
		if waiting == n {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("%d requests wait, want %d: %+v", waiting, n, p.Queues())
		}
	}
}

// queueWorld is an in-memory world with a virtual clock: its servers hold every request until
// the test answers it.
type queueWorld struct {
	*Pool
	t     *testing.T
	proxy *Proxy

	mu      sync.Mutex
	held    []*heldRequest // guarded by mu; in the order of their arrival
	arrived []string       // guarded by mu; the names of all that arrived
	done    []LiveRequest  // guarded by mu

	networks network
	servers  map[string]*http.Server
}

// heldRequest is a request at a server.
type heldRequest struct {
	name, server string
	answer       chan http.HandlerFunc
}

// newQueueWorld starts servers of the model that run seqs requests each. It is to be
// called within a bubble.
func newQueueWorld(t *testing.T, cfg Config, seqs ...int) *queueWorld {
	t.Helper()
	w := &queueWorld{t: t, servers: make(map[string]*http.Server)}
	w.Pool = newPool(zap.NewNop(), w.networks.dial)
	cfg.HealthInterval, cfg.ModelsInterval = time.Hour, time.Hour
	for i, n := range seqs {
		addr := fmt.Sprintf("s%d:80", i)
		w.start(addr)
		cfg.Upstreams = append(cfg.Upstreams, UpstreamConfig{URL: "http://" + addr, MaxNumSeqs: n})
	}
	if err := w.Apply(cfg); err != nil {
		t.Fatal(err)
	}
	w.Start()
	t.Cleanup(w.Pool.Close)
	w.proxy = NewProxy(w.Pool, zap.NewNop(), func(_ context.Context, r LiveRequest) {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.done = append(w.done, r)
	})
	synctest.Wait()
	if n := count(w.Pool, StateUp); n != len(seqs) {
		t.Fatalf("%d servers are up, want %d", n, len(seqs))
	}
	wake(w.Pool)
	return w
}

func (w *queueWorld) start(addr string) {
	f := makeFake()
	set(&f.serve, func(out http.ResponseWriter, r *http.Request) {
		text, err := io.ReadAll(r.Body)
		if err != nil {
			return
		}
		h := &heldRequest{name: r.Header.Get("X-Name"), server: addr, answer: make(chan http.HandlerFunc, 1)}
		w.mu.Lock()
		w.held, w.arrived = append(w.held, h), append(w.arrived, h.name)
		w.mu.Unlock()
		select {
		case answer := <-h.answer:
			r.Body = io.NopCloser(bytes.NewReader(text))
			answer(out, r)
		case <-r.Context().Done():
		}
	})
	w.servers[addr] = w.networks.serve(w.t, addr, f)
}

func (w *queueWorld) reload(cfg Config) {
	w.t.Helper()
	if err := w.Apply(cfg); err != nil {
		w.t.Fatal(err)
	}
}

func (w *queueWorld) drain(url string, draining bool) {
	w.t.Helper()
	if err := w.setDraining(url, draining, ""); err != nil {
		w.t.Fatal(err)
	}
}

// addModel has a server have one more model.
func (w *queueWorld) addModel(u *upstream, id string) {
	w.Pool.mu.Lock()
	defer w.Pool.mu.Unlock()
	m := u.models[0]
	m.ID = id
	u.models = append(slices.Clone(u.models), m)
	w.publish()
}

// request is a request in flight.
type request struct {
	out    *httptest.ResponseRecorder
	cancel context.CancelFunc
	ended  chan struct{}
}

// send sends a request of a key and waits until it stands still.
func (w *queueWorld) send(name, key string) *request {
	return w.sendBody(name, key, endpoint, chatBody(model))
}

func (w *queueWorld) sendBody(name, key, path, body string) *request {
	ctx, cancel := context.WithCancel(w.t.Context())
	q := &request{out: httptest.NewRecorder(), cancel: cancel, ended: make(chan struct{})}
	r := httptest.NewRequest(http.MethodPost, path, strings.NewReader(body)).WithContext(ctx)
	r.Header.Set("X-Name", name)
	if key != "" {
		r.Header.Set("Authorization", "Bearer "+key)
	}
	go func() {
		defer close(q.ended)
		defer cancel()
		w.proxy.ServeHTTP(q.out, r)
	}()
	synctest.Wait()
	return q
}

// answer answers the first request that a server holds and returns its name.
func (w *queueWorld) answer(with http.HandlerFunc) string {
	w.t.Helper()
	w.mu.Lock()
	if len(w.held) == 0 {
		w.mu.Unlock()
		w.t.Fatal("no server holds a request")
	}
	h := w.held[0]
	w.held = w.held[1:]
	w.mu.Unlock()
	h.answer <- with
	synctest.Wait()
	return h.name
}

// finish answers everything that is held or comes until nothing is left.
func (w *queueWorld) finish() {
	for {
		w.mu.Lock()
		n := len(w.held)
		w.mu.Unlock()
		if n == 0 {
			break
		}
		w.answer(answerJSON)
	}
	w.wantEmpty()
}

// wantEmpty checks that no live slot, slot or place in the queue is left over.
func (w *queueWorld) wantEmpty() {
	w.t.Helper()
	synctest.Wait()
	for _, u := range w.now.Load().upstreams {
		if live, batch := u.counts(); live+batch != 0 {
			w.t.Errorf("%s has %d live and %d batch requests in flight, want none", u.url, live, batch)
		}
	}
	if n, all := w.queue.waiting[Live].Load()+w.queue.waiting[Batch].Load(), w.Queues(); n != 0 || len(all) != 0 || len(w.queue.queues[Live])+len(w.queue.queues[Batch]) != 0 {
		w.t.Errorf("%d requests wait, want none: %+v", n, all)
	}
}

func (w *queueWorld) wantQueue(want ...QueueStatus) {
	w.t.Helper()
	if got := w.Queues(); !slices.Equal(got, want) {
		w.t.Errorf("queues %+v, want %+v", got, want)
	}
}

func (w *queueWorld) wantArrived(want ...string) {
	w.t.Helper()
	w.mu.Lock()
	defer w.mu.Unlock()
	if !slices.Equal(w.arrived, want) {
		w.t.Errorf("arrived at servers: %q, want %q", w.arrived, want)
	}
}

// wantRefused checks a refusal and returns its Retry-After in seconds.
func (q *request) wantRefused(t *testing.T, status int, code string) int {
	t.Helper()
	<-q.ended
	var e struct {
		Error struct{ Message, Type, Code string }
	}
	if err := json.Unmarshal(q.out.Body.Bytes(), &e); err != nil || q.out.Code != status || e.Error.Code != code || e.Error.Message == "" {
		t.Fatalf("status %d, want %d with the code %q: %s", q.out.Code, status, code, q.out.Body)
	}
	seconds, err := strconv.Atoi(q.out.Header().Get("Retry-After"))
	if err != nil || seconds < 1 || seconds > 60 {
		t.Fatalf("Retry-After %q, want a number from 1 to 60", q.out.Header().Get("Retry-After"))
	}
	return seconds
}

func (q *request) wantOK(t *testing.T) {
	t.Helper()
	<-q.ended
	if q.out.Code != http.StatusOK {
		t.Errorf("status %d, want 200: %s", q.out.Code, q.out.Body)
	}
}
