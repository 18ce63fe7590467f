package upstreams

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"
)

// timed runs a test with servers at a: and b: in a network and a time of its own.
type timed struct {
	net  *network
	a, b *fake
	pool *Pool
}

// inTime runs test once both servers are up. With an interval of 5 s, a healthy server is
// probed about every 5 s.
func inTime(t *testing.T, test func(t *testing.T, w *timed)) {
	synctest.Test(t, func(t *testing.T) {
		w := &timed{net: &network{}, a: makeFake(), b: makeFake()}
		w.net.serve(t, "a:80", w.a)
		w.net.serve(t, "b:80", w.b)
		w.pool = newPool(zap.NewNop(), w.net.dial)
		w.apply(t, Config{Upstreams: []UpstreamConfig{{URL: "http://a"}, {URL: "http://b"}}})
		w.pool.Start()
		t.Cleanup(w.pool.Close)
		synctest.Wait()
		if !w.pool.Ready() || !w.pool.discoveryComplete() {
			t.Fatalf("not up at once: %+v", w.pool.Status())
		}
		wake(w.pool)
		test(t, w)
	})
}

func (w *timed) apply(t *testing.T, cfg Config) {
	t.Helper()
	if err := w.pool.Apply(cfg); err != nil {
		t.Fatal(err)
	}
}

func (w *timed) state(t *testing.T, host string) State {
	t.Helper()
	synctest.Wait()
	return statusOf(t, w.pool, "http://"+host).State
}

// pass lets time pass.
func pass(d time.Duration) {
	<-time.After(d)
	synctest.Wait()
}

// post sends a live request in the background.
func (w *timed) post(ctx context.Context, cfg func(*httptest.ResponseRecorder)) <-chan *httptest.ResponseRecorder {
	out := httptest.NewRecorder()
	if cfg != nil {
		cfg(out)
	}
	done := make(chan *httptest.ResponseRecorder, 1)
	go func() {
		defer func() {
			_ = recover() // a cut
			done <- out
		}()
		r := httptest.NewRequestWithContext(ctx, "POST", "/v1/chat/completions", strings.NewReader(chatBody(model)))
		NewProxy(w.pool, zap.NewNop(), nil).ServeHTTP(out, r)
	}()
	return done
}

func hang(_ http.ResponseWriter, r *http.Request) {
	_, _ = io.Copy(io.Discard, r.Body)
	<-r.Context().Done()
}

// A server that hangs altogether is suspected after one probe, down after three,
// and what waits on it goes elsewhere.
func TestHangingServer(t *testing.T) {
	inTime(t, func(t *testing.T, w *timed) {
		set(&w.b.serve, hang)
		var waiting []<-chan *httptest.ResponseRecorder
		for w.b.calls.Load() == 0 {
			waiting = append(waiting, w.post(t.Context(), nil))
			synctest.Wait()
		}
		set(&w.b.health, hang)
		begin := time.Now()
		pass(11 * time.Second) // one probe has failed by now
		if state := w.state(t, "b"); state != StateBusy {
			t.Fatalf("state %s", state)
		}
		before := w.b.calls.Load()
		for range 20 {
			waiting = append(waiting, w.post(t.Context(), nil))
		}
		synctest.Wait()
		if w.b.calls.Load() != before {
			t.Error("a suspect got requests while there was another server")
		}
		pass(12 * time.Second)
		if state := w.state(t, "b"); state != StateDown {
			t.Fatalf("state %s after %s", state, time.Since(begin))
		}
		for _, done := range waiting {
			select {
			case a := <-done:
				if a.Code != 200 || a.Body.String() != jsonAnswer {
					t.Errorf("a client saw %d %s", a.Code, a.Body)
				}
			default:
				t.Error("a request still waits on the server that hangs")
			}
		}
		set(&w.b.serve, answerJSON)
		set(&w.b.health, func(http.ResponseWriter, *http.Request) {})
		pass(11 * time.Second)
		if state := w.state(t, "b"); state != StateUp {
			t.Errorf("got state %s after recovery", state)
		}
	})
}

// The header of a stream is no byte of the answer: until the first event the
// request can go elsewhere.
func TestHangAfterStreamHeader(t *testing.T) {
	inTime(t, func(t *testing.T, w *timed) {
		set(&w.b.serve, func(rw http.ResponseWriter, r *http.Request) {
			streamed()(rw, r)
			<-r.Context().Done()
		})
		set(&w.a.serve, streamed(sseEvent, sseDone))
		var waiting []<-chan *httptest.ResponseRecorder
		for w.b.calls.Load() == 0 {
			waiting = append(waiting, w.post(t.Context(), nil))
			synctest.Wait()
		}
		set(&w.b.health, hang)
		pass(30 * time.Second)
		for _, done := range waiting {
			if a := <-done; a.Body.String() != sseEvent+sseDone {
				t.Errorf("a client saw %d %s", a.Code, a.Body)
			}
		}
	})
}

// A server whose probes time out while requests get on is busy.
func TestBusyServer(t *testing.T) {
	inTime(t, func(t *testing.T, w *timed) {
		set(&w.b.health, hang)
		ctx, stop := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() {
			defer close(done)
			tick := time.NewTicker(time.Second)
			defer tick.Stop()
			for {
				select {
				case <-ctx.Done():
					return
				case <-tick.C:
					for range 4 {
						<-w.post(ctx, nil)
					}
				}
			}
		}()
		pass(2 * time.Minute)
		if state := w.state(t, "b"); state != StateBusy {
			t.Errorf("state %s", state)
		}
		if w.b.calls.Load() < 100 {
			t.Errorf("a busy server got %d requests", w.b.calls.Load())
		}
		stop()
		<-done
		pass(time.Minute)
		if state := w.state(t, "b"); state != StateDown {
			t.Errorf("state %s when nothing gets on any more", state)
		}
	})
}

// A stream that flows is progress too.
func TestBusyWithAStream(t *testing.T) {
	inTime(t, func(t *testing.T, w *timed) {
		flow := func(rw http.ResponseWriter, r *http.Request) {
			for range 120 {
				streamed(sseEvent)(rw, r)
				<-time.After(time.Second)
			}
			streamed(sseDone)(rw, r)
		}
		set(&w.a.serve, flow)
		set(&w.b.serve, flow)
		var waiting []<-chan *httptest.ResponseRecorder
		for w.b.calls.Load() == 0 {
			waiting = append(waiting, w.post(t.Context(), nil))
			synctest.Wait()
		}
		set(&w.b.health, hang)
		pass(time.Minute)
		if state := w.state(t, "b"); state != StateBusy {
			t.Errorf("state %s", state)
		}
		for _, done := range waiting {
			if a := <-done; countEvents(a.Body.String()) != 120 {
				t.Errorf("a client saw %d events", countEvents(a.Body.String()))
			}
		}
	})
}

// The last server of a model is not taken out by probes, but by a refusal.
func TestLastServerOfAModel(t *testing.T) {
	for name, bad := range map[string]http.HandlerFunc{
		"times out":    hang,
		"answers 500":  answerStatus(500, "text/plain", "no"),
		"answers 503":  answerStatus(503, "application/json", "{}"),
		"answers HTML": answerStatus(200, "text/html", "<html>"),
	} {
		t.Run(name, func(t *testing.T) {
			inTime(t, func(t *testing.T, w *timed) {
				set(&w.a.health, bad)
				set(&w.b.health, bad)
				pass(2 * time.Minute)
				up, down := "a", "b"
				if w.state(t, "a") != StateBusy {
					up, down = "b", "a"
				}
				if w.state(t, up) != StateBusy || w.state(t, down) == StateBusy || w.state(t, down) == StateUp {
					t.Fatalf("states %s and %s", w.state(t, "a"), w.state(t, "b"))
				}
				if a := <-w.post(t.Context(), nil); a.Code != 200 {
					t.Errorf("status %d", a.Code)
				}
				w.net.listen(up + ":80").Close() // refuses from now on
				w.pool.closeIdle()
				if a := <-w.post(t.Context(), nil); a.Code != 503 {
					t.Errorf("status %d", a.Code)
				}
				if w.state(t, up) != StateDown {
					t.Errorf("state %s after a refusal", w.state(t, up))
				}
			})
		})
	}
}

// One bad probe of many does no harm.
func TestOneBadProbe(t *testing.T) {
	inTime(t, func(t *testing.T, w *timed) {
		var n atomic.Int64
		set(&w.b.health, func(rw http.ResponseWriter, _ *http.Request) {
			if n.Add(1)%2 == 0 {
				rw.WriteHeader(500)
			}
		})
		for range 300 {
			pass(time.Second)
			if state := w.state(t, "b"); state != StateUp && state != StateBusy {
				t.Fatalf("state %s", state)
			}
		}
		if n.Load() < 50 {
			t.Errorf("%d probes", n.Load())
		}
	})
}

// A refused probe takes a server out within its interval, and it is back within
// the same time.
func TestRefusedProbe(t *testing.T) {
	inTime(t, func(t *testing.T, w *timed) {
		old := w.net.listen("b:80") // hides the server
		old.Close()
		w.pool.closeIdle()
		pass(6 * time.Second)
		if state := w.state(t, "b"); state != StateDown {
			t.Fatalf("state %s", state)
		}
		w.net.serve(t, "b:80", w.b)
		pass(6 * time.Second)
		if state := w.state(t, "b"); state != StateUp {
			t.Fatalf("state %s", state)
		}
	})
}

// What is no model server is never up.
func TestRubbishIsNotUp(t *testing.T) {
	rubbish := map[string]http.HandlerFunc{
		"HTML":           answerStatus(200, "text/html", "<html>"),
		"no JSON":        answerStatus(200, "application/json", "hello"),
		"half JSON":      answerStatus(200, "application/json", `{"object":"list","data":[{"id":"m"`),
		"no models":      answerStatus(200, "application/json", `{"object":"list","data":[]}`),
		"no ids":         answerStatus(200, "application/json", `{"object":"list","data":[{"object":"model"}]}`),
		"null":           answerStatus(200, "application/json", `null`),
		"an array":       answerStatus(200, "application/json", `[]`),
		"a long id":      answerStatus(200, "application/json", `{"data":[{"id":"`+strings.Repeat("m", 2000)+`"}]}`),
		"an endless one": func(w http.ResponseWriter, _ *http.Request) { endless(w) },
		"401":            answerStatus(401, "application/json", `{"error":"Unauthorized"}`),
		"a redirect":     redirectTo("/v1/models/"),
	}
	for name, bad := range rubbish {
		t.Run(name, func(t *testing.T) {
			inTime(t, func(t *testing.T, w *timed) {
				c := makeFake("other")
				set(&c.listed, bad)
				w.net.serve(t, "c:80", c)
				w.apply(t, Config{Upstreams: []UpstreamConfig{{URL: "http://a"}, {URL: "http://c"}}, LoadTime: 30 * time.Second})
				pass(time.Minute)
				s := statusOf(t, w.pool, "http://c")
				if s.State != StateDown || s.Reason == "" {
					t.Errorf("status %+v", s)
				}
				if known, _ := w.pool.Serves("other"); known || len(w.pool.Models()) != 1 {
					t.Error("it told a model")
				}
			})
		})
	}
}

func endless(w io.Writer) {
	for {
		if _, err := io.WriteString(w, strings.Repeat(" ", 64<<10)); err != nil {
			return
		}
	}
}

// A server without /health is judged by its models.
func TestServerWithoutHealth(t *testing.T) {
	inTime(t, func(t *testing.T, w *timed) {
		set(&w.a.health, http.NotFound)
		pass(time.Minute)
		if state := w.state(t, "a"); state != StateUp {
			t.Errorf("state %s", state)
		}
		set(&w.a.listed, http.NotFound)
		pass(time.Minute)
		if state := w.state(t, "a"); state != StateDown {
			t.Errorf("state %s", state)
		}
	})
}

// While a server loads, what it will have is not unknown.
func TestLoadingServer(t *testing.T) {
	inTime(t, func(t *testing.T, w *timed) {
		c := makeFake("other")
		set(&c.health, answerStatus(503, "application/json", "{}"))
		w.net.serve(t, "c:80", c)
		cfg := Config{Upstreams: []UpstreamConfig{{URL: "http://a"}, {URL: "http://c"}, {URL: "http://missing"}}, LoadTime: 30 * time.Second}
		w.apply(t, cfg)
		pass(20 * time.Second)
		if w.state(t, "c") != StateLoading || w.state(t, "missing") != StateLoading || w.pool.discoveryComplete() {
			t.Errorf("status %+v", w.pool.Status())
		}
		if _, err := w.pool.Reserve("other", ""); !errors.Is(err, ErrDown) {
			t.Errorf("Reserve: %v", err)
		}
		if err := w.pool.Up("other"); !errors.Is(err, ErrLoading) {
			t.Errorf("Up while a server loads that may have the model: got %v, want %v", err, ErrLoading)
		}
		pass(20 * time.Second)
		if w.state(t, "missing") != StateDown || w.pool.discoveryComplete() {
			t.Errorf("status %+v", w.pool.Status())
		}
		if err := w.pool.Up("other"); !errors.Is(err, ErrLoading) {
			t.Errorf("Up beside a server that is down: got %v, want %v", err, ErrLoading)
		}
		set(&c.health, func(http.ResponseWriter, *http.Request) {})
		pass(6 * time.Second)
		if w.state(t, "c") != StateUp || !w.pool.discoveryComplete() {
			t.Errorf("status %+v", w.pool.Status())
		}
		if _, err := w.pool.Reserve("nope", ""); !errors.Is(err, ErrUnknownModel) {
			t.Errorf("Reserve: %v", err)
		}
		slot, err := w.pool.Reserve("other", "")
		if err != nil {
			t.Fatal(err)
		}
		slot.Release()
	})
}

// TestModelsChange checks that models are read periodically, and after a failure.
func TestModelsChange(t *testing.T) {
	inTime(t, func(t *testing.T, w *timed) {
		set(&w.a.listed, answerStatus(200, "application/json", `{"data":[{"id":"m"},{"id":"new"}]}`))
		pass(40 * time.Second)
		if known, _ := w.pool.Serves("new"); !known {
			t.Error("the new model is not known")
		}
	})
}

// An answer after ten silent minutes, and a stream with five between events.
func TestSilence(t *testing.T) {
	inTime(t, func(t *testing.T, w *timed) {
		late := func(rw http.ResponseWriter, r *http.Request) {
			<-time.After(10 * time.Minute)
			answerJSON(rw, r)
		}
		set(&w.a.serve, late)
		set(&w.b.serve, late)
		if a := <-w.post(t.Context(), nil); a.Code != 200 || a.Body.String() != jsonAnswer {
			t.Errorf("a client saw %d %s", a.Code, a.Body)
		}
		slow := func(rw http.ResponseWriter, r *http.Request) {
			for range 3 {
				streamed(sseEvent)(rw, r)
				<-time.After(5 * time.Minute)
			}
			streamed(sseDone)(rw, r)
		}
		set(&w.a.serve, slow)
		set(&w.b.serve, slow)
		if a := <-w.post(t.Context(), nil); a.Body.String() != sseEvent+sseEvent+sseEvent+sseDone {
			t.Errorf("a client saw %d %s", a.Code, a.Body)
		}
		w.apply(t, Config{Upstreams: w.pool.cfg.Upstreams, StreamIdleTimeout: time.Minute})
		if a := <-w.post(t.Context(), nil); !strings.HasPrefix(a.Body.String(), sseEvent+"data: {\"error\"") || !strings.Contains(a.Body.String(), "silent") {
			t.Errorf("with a limit a client saw %s", a.Body)
		}
		pass(time.Hour) // for the server to notice
	})
}

// A machine that vanishes while it connects: the dial times out.
func TestVanishedMachine(t *testing.T) {
	inTime(t, func(t *testing.T, w *timed) {
		w.net.listen("b:80") // accepts nothing
		w.pool.closeIdle()
		pass(30 * time.Second)
		if state := w.state(t, "b"); state != StateDown {
			t.Errorf("state %s", state)
		}
		for range 10 {
			if a := <-w.post(t.Context(), nil); a.Code != 200 {
				t.Errorf("status %d", a.Code)
			}
		}
	})
}

// New settings of the probes count from the moment they are applied.
func TestProbesHearOfSettings(t *testing.T) {
	f := newFake(t)
	p := startPool(t, calm(f.URL))
	var asked atomic.Int64
	set(&f.health, func(http.ResponseWriter, *http.Request) { asked.Add(1) })
	cfg := calm(f.URL)
	cfg.HealthInterval = time.Millisecond
	if err := p.Apply(cfg); err != nil {
		t.Fatal(err)
	}
	until(t, "it is probed by the new interval", func() bool { return asked.Load() > 2 })
}

// A server that was left out is as it was when that is taken back, and a new one
// when it is configured again.
func TestServerComesBack(t *testing.T) {
	f := newFake(t)
	cfg := calm(f.URL)
	p := startPool(t, cfg)
	if err := p.Drain(f.URL); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		if err := errors.Join(p.Apply(Config{}), p.Restore(cfg)); err != nil {
			t.Fatal(err)
		}
		if s := statusOf(t, p, f.URL); s.State != StateDraining {
			t.Fatalf("it is %+v", s)
		}
	}
	if err := errors.Join(p.Apply(Config{}), p.Apply(cfg)); err != nil {
		t.Fatal(err)
	}
	if s := statusOf(t, p, f.URL); s.Draining {
		t.Errorf("it is %+v", s)
	}
	until(t, "it is probed", func() bool { return statusOf(t, p, f.URL).State == StateUp })
}
