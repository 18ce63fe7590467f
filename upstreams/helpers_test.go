package upstreams

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"
	"go.uber.org/zap"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// deadline bounds every wait for another goroutine.
const deadline = 20 * time.Second

// until polls for something that real connections have a part in.
func until(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for start := time.Now(); !ok(); {
		elapsed := time.Since(start)
		if elapsed > deadline {
			t.Fatalf("never happened: %s", what)
		}
		time.Sleep(min(max(elapsed/20, time.Millisecond), 20*time.Millisecond))
	}
}

// receive waits for a value.
func receive[T any](t *testing.T, what string, ch <-chan T) T {
	t.Helper()
	select {
	case v := <-ch:
		return v
	case <-time.After(deadline):
		t.Fatalf("never happened: %s", what)
		panic("unreachable")
	}
}

const model = "m"

func chatBody(model string) string {
	return `{"model":"` + model + `","messages":[{"role":"user","content":"hi"}]}`
}

// fake is a model server on a loopback port whose parts can be replaced.
type fake struct {
	*httptest.Server
	models  []string
	calls   atomic.Int64 // of routes other than the probed ones
	health  atomic.Pointer[http.HandlerFunc]
	listed  atomic.Pointer[http.HandlerFunc] // /v1/models
	figures atomic.Pointer[http.HandlerFunc] // /metrics
	serve   atomic.Pointer[http.HandlerFunc] // everything else
}

func set(at *atomic.Pointer[http.HandlerFunc], h http.HandlerFunc) { at.Store(&h) }

func newFake(t *testing.T, models ...string) *fake {
	t.Helper()
	f := makeFake(models...)
	f.Server = httptest.NewServer(f)
	t.Cleanup(f.Close)
	return f
}

func makeFake(models ...string) *fake {
	if len(models) == 0 {
		models = []string{model}
	}
	f := &fake{models: models}
	set(&f.health, func(http.ResponseWriter, *http.Request) {})
	set(&f.listed, f.list)
	set(&f.figures, http.NotFound)
	set(&f.serve, answerJSON)
	return f
}

// Close ends the server as a kill does.
func (f *fake) Close() {
	f.CloseClientConnections()
	f.Server.Close()
}

// again starts a server on the address of one that was closed.
func (f *fake) again(t *testing.T) *fake {
	t.Helper()
	g := makeFake(f.models...)
	var ln net.Listener
	until(t, "the port is free again", func() (ok bool) {
		var err error
		ln, err = net.Listen("tcp", f.Listener.Addr().String())
		return err == nil
	})
	g.Server = &httptest.Server{Listener: ln, Config: &http.Server{Handler: g}}
	g.Start()
	t.Cleanup(g.Close)
	return g
}

func (f *fake) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	switch r.URL.Path {
	case "/health":
		(*f.health.Load())(w, r)
	case "/v1/models":
		(*f.listed.Load())(w, r)
	case "/metrics":
		(*f.figures.Load())(w, r)
	case "/version":
		http.NotFound(w, r)
	default:
		f.calls.Add(1)
		(*f.serve.Load())(w, r)
	}
}

func (f *fake) list(w http.ResponseWriter, _ *http.Request) {
	var data []string
	for _, m := range f.models {
		data = append(data, fmt.Sprintf(`{"id":%q,"object":"model","created":1,"owned_by":"vllm","max_model_len":4096}`, m))
	}
	w.Header().Set("Content-Type", "application/json")
	fmt.Fprintf(w, `{"object":"list","data":[%s]}`, strings.Join(data, ","))
}

const (
	jsonAnswer = `{"id":"x","model":"m","choices":[],"usage":{"prompt_tokens":3,"completion_tokens":4,"total_tokens":7}}`
	sseEvent   = `data: {"id":"x","choices":[{"delta":{"content":"a"}}]}` + "\n\n"
	sseUsage   = `data: {"id":"x","model":"m","choices":[],"usage":{"prompt_tokens":3,"completion_tokens":4,"total_tokens":7}}` + "\n\n"
	sseDone    = "data: [DONE]\n\n"
)

func answerJSON(w http.ResponseWriter, r *http.Request) {
	_, _ = io.Copy(io.Discard, r.Body)
	w.Header().Set("Content-Type", "application/json")
	io.WriteString(w, jsonAnswer)
}

func answerStatus(status int, contentType, body string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		w.Header().Set("Content-Type", contentType)
		w.WriteHeader(status)
		io.WriteString(w, body)
	}
}

// stream answers with events, flushing each.
func streamed(parts ...string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		w.Header().Set("Content-Type", "text/event-stream; charset=utf-8")
		w.(http.Flusher).Flush()
		for _, p := range parts {
			io.WriteString(w, p)
			w.(http.Flusher).Flush()
		}
	}
}

// thenCut serves as h and then breaks the connection off.
func thenCut(h http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		h(w, r)
		panic(http.ErrAbortHandler)
	}
}

// raw answers with bytes of its own and closes the connection.
func raw(answer string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		conn, _, err := w.(http.Hijacker).Hijack()
		if err != nil {
			panic(err)
		}
		defer conn.Close()
		io.WriteString(conn, answer)
	}
}

// quick is a configuration that finds things out within milliseconds.
func quick(urls ...string) Config {
	cfg := Config{HealthInterval: 20 * time.Millisecond, HealthTimeout: time.Second, ModelsInterval: 50 * time.Millisecond}
	for _, u := range urls {
		cfg.Upstreams = append(cfg.Upstreams, UpstreamConfig{URL: u})
	}
	return cfg
}

// calm is one that does not probe unasked once the servers are up.
func calm(urls ...string) Config {
	cfg := quick(urls...)
	cfg.HealthInterval, cfg.ModelsInterval = time.Hour, time.Hour
	return cfg
}

func urlsOf(fakes ...*fake) []string {
	var urls []string
	for _, f := range fakes {
		urls = append(urls, f.URL)
	}
	return urls
}

// startPool runs a pool until the test ends. It waits until all are up.
func startPool(t *testing.T, cfg Config) *Pool {
	t.Helper()
	p := NewPool(zap.NewNop())
	if err := p.Apply(cfg); err != nil {
		t.Fatal(err)
	}
	p.Start()
	t.Cleanup(p.Close)
	until(t, "all upstreams are up", func() bool { return count(p, StateUp) == len(cfg.Upstreams) })
	wake(p)
	return p
}

// wake makes no upstream quiet until the next update of the placement: lines are sent to a
// quiet one with short pauses.
func wake(p *Pool) {
	for _, u := range p.now.Load().upstreams {
		u.quiet.Store(false)
	}
}

// probedPool starts a pool without its prober, so that nothing but the test changes what
// probes find. Each upstream is probed once.
func probedPool(t *testing.T, cfg Config) *Pool {
	t.Helper()
	p := NewPool(zap.NewNop())
	if err := p.Apply(cfg); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Close)
	for _, u := range p.now.Load().upstreams {
		if ok, _ := p.probe(t.Context(), p.now.Load(), u, true); !ok {
			t.Fatalf("%s does not come up", u.url)
		}
	}
	return p
}

func count(p *Pool, state State) int {
	n := 0
	for _, u := range p.Status() {
		if u.State == state {
			n++
		}
	}
	return n
}

func statusOf(t *testing.T, p *Pool, url string) UpstreamStatus {
	t.Helper()
	all := p.Status()
	i := slices.IndexFunc(all, func(u UpstreamStatus) bool { return u.URL == url })
	if i < 0 {
		t.Fatalf("no upstream %s", url)
	}
	return all[i]
}

// wantIdle waits until nothing is counted as in flight.
func wantIdle(t *testing.T, p *Pool) {
	t.Helper()
	until(t, "nothing is in flight", func() bool {
		for _, u := range p.now.Load().upstreams {
			u.flights.mu.Lock()
			listed := u.flights.first != nil
			u.flights.mu.Unlock()
			if u.load.Load() != 0 || listed {
				return false
			}
		}
		return true
	})
}

// gateway is a proxy on a loopback port.
type gateway struct {
	*httptest.Server
	pool *Pool

	mu   sync.Mutex
	done []LiveRequest // guarded by mu
}

func newGateway(t *testing.T, p *Pool) *gateway {
	t.Helper()
	g := &gateway{pool: p}
	g.Server = httptest.NewServer(NewProxy(p, zap.NewNop(), func(_ context.Context, r LiveRequest) {
		g.mu.Lock()
		defer g.mu.Unlock()
		g.done = append(g.done, r)
	}))
	t.Cleanup(func() {
		g.CloseClientConnections()
		g.Close()
		wantIdle(t, p)
	})
	return g
}

// recorded waits for the record of the nth request.
func (g *gateway) recorded(t *testing.T, n int) LiveRequest {
	t.Helper()
	var r LiveRequest
	until(t, "the request is recorded", func() bool {
		g.mu.Lock()
		defer g.mu.Unlock()
		if len(g.done) < n {
			return false
		}
		r = g.done[n-1]
		return true
	})
	return r
}

// got is a response.
type got struct {
	status int
	header http.Header
	body   string
	err    error // of reading the body
}

func (g *gateway) post(t *testing.T, path, body string, headers ...string) got {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, g.URL+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/json")
	for i := 0; i < len(headers); i += 2 {
		r.Header[headers[i]] = append(r.Header[headers[i]], headers[i+1])
	}
	return g.send(t, r)
}

func (g *gateway) get(t *testing.T, path string) got {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, g.URL+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	return g.send(t, r)
}

// send sends a request as it is and reads the answer.
func (g *gateway) send(t *testing.T, r *http.Request) got {
	t.Helper()
	answer, err := g.Client().Transport.RoundTrip(r)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	return got{answer.StatusCode, answer.Header, string(text), err}
}

// sendRaw sends bytes to the gateway and reads one answer.
func (g *gateway) sendRaw(t *testing.T, request string) got {
	t.Helper()
	conn, err := net.Dial("tcp", g.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := io.WriteString(conn, request); err != nil {
		t.Fatal(err)
	}
	answer, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	return got{answer.StatusCode, answer.Header, string(text), err}
}

// wantError checks an envelope.
func (a got) wantError(t *testing.T, status int, code string) {
	t.Helper()
	if a.status != status {
		t.Fatalf("status %d, want %d: %s", a.status, status, a.body)
	}
	var e struct {
		Error struct {
			Message string
			Type    string
			Code    any // a string of the gateway's, a number of vLLM's
		}
	}
	if err := json.Unmarshal([]byte(a.body), &e); err != nil || e.Error.Message == "" || e.Error.Type == "" {
		t.Fatalf("no envelope: %s", a.body)
	}
	if kind := a.header.Get("Content-Type"); kind != "application/json" {
		t.Errorf("content type %q", kind)
	}
	if code != "" && e.Error.Code != code {
		t.Errorf("code is not %s: %s", code, a.body)
	}
}

func (a got) wantOK(t *testing.T, body string) {
	t.Helper()
	if a.status != http.StatusOK || a.body != body || a.err != nil {
		t.Fatalf("status %d, error %v, body %q; want 200 and %q", a.status, a.err, a.body, body)
	}
}

// network is a network in memory, for tests with a clock of their own.
type network struct {
	mu    sync.Mutex
	hosts map[string]*host // guarded by mu
}

type host struct {
	addr   string
	conns  chan net.Conn
	closed chan struct{}
	once   sync.Once
}

func (n *network) listen(addr string) *host {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.hosts == nil {
		n.hosts = make(map[string]*host)
	}
	h := &host{addr: addr, conns: make(chan net.Conn), closed: make(chan struct{})}
	n.hosts[addr] = h
	return h
}

var errRefused = &net.OpError{Op: "dial", Net: "tcp", Err: syscall.ECONNREFUSED}

func (n *network) dial(ctx context.Context, _, addr string) (net.Conn, error) {
	n.mu.Lock()
	h := n.hosts[addr]
	n.mu.Unlock()
	if h == nil {
		return nil, errRefused
	}
	near, far := net.Pipe()
	select {
	case h.conns <- far:
		return near, nil
	case <-h.closed:
		return nil, errRefused
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func (h *host) Accept() (net.Conn, error) {
	select {
	case c := <-h.conns:
		return c, nil
	case <-h.closed:
		return nil, net.ErrClosed
	}
}

func (h *host) Close() error {
	h.once.Do(func() { close(h.closed) })
	return nil
}

func (h *host) Addr() net.Addr { return &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 1} }

// serveOn serves until the test ends.
func (n *network) serve(t *testing.T, addr string, handler http.Handler) *http.Server {
	srv := &http.Server{Handler: handler, ErrorLog: nil}
	ln := n.listen(addr)
	done := make(chan error, 1)
	go func() { done <- srv.Serve(ln) }()
	t.Cleanup(func() {
		srv.Close()
		if err := <-done; !errors.Is(err, http.ErrServerClosed) && !errors.Is(err, net.ErrClosed) {
			t.Error(err)
		}
	})
	return srv
}

// countEvents counts what a stream brought.
func countEvents(text string) int { return bytes.Count([]byte(text), []byte("data: {\"id\"")) }
