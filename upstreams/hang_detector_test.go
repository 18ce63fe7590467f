package upstreams

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// figures answers GET /metrics as vLLM does.
func figures(running, waiting, tokens float64, kvCache float64) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprintf(w, "vllm:num_requests_running{engine=\"0\"} %v\nvllm:num_requests_waiting{engine=\"0\"} %v\n"+
			"vllm:generation_tokens_total{engine=\"0\"} %v\nvllm:kv_cache_usage_perc{engine=\"0\"} %v\n", running, waiting, tokens, kvCache)
	}
}

func TestStillness(t *testing.T) {
	busy := gauges{present: true, hasTokens: true, running: 2, waiting: 1, generated: 100, steps: 10, kvCache: 0.1}
	with := func(change func(*gauges)) gauges {
		g := busy
		change(&g)
		return g
	}
	same := func(n int, g gauges) []gauges {
		all := make([]gauges, n)
		for i := range all {
			all[i] = g
		}
		return all
	}
	for _, tt := range []struct {
		name     string
		every    time.Duration
		seen     []gauges
		sent     int
		inFlight int
		want     bool
	}{
		{"it stands still", time.Second, same(9, busy), 0, 1, true},
		{"requests only wait", time.Second, same(9, with(func(g *gauges) { g.running = 0 })), 0, 1, true},
		{"not for long", time.Second, same(8, busy), 0, 1, false},
		{"the gateway was stopped meanwhile", time.Minute, same(3, busy), 0, 1, false},
		{"nothing runs", time.Second, same(20, with(func(g *gauges) { g.running, g.waiting = 0, 0 })), 0, 1, false},
		{"requests were sent and the engine has made no step", time.Second, same(9, with(func(g *gauges) { g.running, g.waiting = 0, 0 })), 1, 1, true},
		{"none of the requests are ours", time.Second, same(20, busy), 0, 0, false},
		{"no figures", time.Second, same(20, gauges{}), 0, 1, false},
		{"no counter of tokens", time.Second, same(20, with(func(g *gauges) { g.hasTokens = false })), 0, 1, false},
		{"tokens come", time.Second, append(same(8, busy), with(func(g *gauges) { g.generated++ })), 0, 1, false},
		{"a long prompt is read", time.Second, append(same(8, busy), with(func(g *gauges) { g.kvCache += 0.01 })), 0, 1, false},
		{"it continued and hangs again", time.Second, append(same(8, with(func(g *gauges) { g.steps++ })), same(9, busy)...), 0, 1, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var s hangDetector
			at, still := time.Unix(1e9, 0), time.Duration(0)
			for _, g := range tt.seen {
				at = at.Add(tt.every)
				still = s.observe(at, g, ownLoad{inFlight: tt.inFlight, awaited: tt.sent})
			}
			if got := s.found; got != tt.want {
				t.Errorf("hung %t after %s", got, still)
			}
		})
	}
	t.Run("answers come", func(t *testing.T) {
		var s hangDetector
		for i := range 20 {
			if still := s.observe(time.Unix(int64(i), 0), busy, ownLoad{1, 0, uint64(i)}); still != 0 {
				t.Fatalf("still for %s", still)
			}
		}
	})
}

// TestEngineHangs checks that a hanging engine is detected within 15 s although the health
// check succeeds: the server gets no request that another one can accept, its waiting
// requests are sent to the other, and it is up again as soon as the engine continues.
func TestEngineHangs(t *testing.T) {
	inTime(t, func(t *testing.T, w *timed) {
		set(&w.a.figures, figures(0, 0, 10, 0))
		set(&w.b.serve, hang)
		s, err := w.pool.Reserve(model, "http://a")
		if err != nil || s.Upstream() != "http://b" {
			t.Fatalf("%v, %v", s, err)
		}
		defer s.Release()
		set(&w.b.figures, figures(1, 0, 500, 0.25))
		begun := time.Now()
		_, err = s.Send(t.Context(), endpoint, []byte(chatBody(model)))
		if e, ok := errors.AsType[*SendError](err); !ok || !e.Sent || !errors.Is(err, errHung) {
			t.Fatalf("%+v, %v", e, err)
		}
		if took := time.Since(begun); took > 15*time.Second {
			t.Errorf("found after %s", took)
		}
		synctest.Wait()
		st := statusOf(t, w.pool, "http://b")
		if st.State != StateSuspect || !strings.Contains(st.Reason, "its engine hangs: no progress since") {
			t.Errorf("state %s: %s", st.State, st.Reason)
		}
		if st.Remedy != hungRemedy {
			t.Errorf("remedy %q", st.Remedy)
		}
		before := w.b.calls.Load()
		pass(time.Minute)
		for range 40 {
			if done := <-w.post(t.Context(), nil); done.Code != 200 {
				t.Errorf("a client saw %d", done.Code)
			}
			pass(time.Second)
		}
		if w.b.calls.Load() != before {
			t.Error("an engine that hangs got requests while there was another server")
		}
		set(&w.b.serve, answerJSON)
		set(&w.b.figures, figures(1, 0, 501, 0.25))
		pass(2 * time.Second)
		if state := w.state(t, "b"); state != StateUp {
			t.Errorf("got state %s after the engine continued", state)
		}
	})
}

// TestLastEngineHangs checks that the last server of a model keeps its requests, because its
// engine may continue. Lines wait, with the reason.
func TestLastEngineHangs(t *testing.T) {
	inTime(t, func(t *testing.T, w *timed) {
		w.apply(t, Config{Upstreams: []UpstreamConfig{{URL: "http://a"}}})
		release := make(chan struct{})
		set(&w.a.serve, func(rw http.ResponseWriter, r *http.Request) {
			_, _ = io.Copy(io.Discard, r.Body)
			<-release
			answerJSON(rw, r)
		})
		set(&w.a.figures, figures(1, 0, 500, 0.25))
		first := w.post(t.Context(), nil)
		pass(15 * time.Second)
		_, err := w.pool.Reserve(model, "")
		if suspect, ok := errors.AsType[*SuspectError](err); !ok || !strings.Contains(suspect.Reason, "engine hangs") {
			t.Errorf("a line: %v", err)
		}
		second := w.post(t.Context(), nil)
		pass(time.Minute)
		close(release)
		for _, done := range []*httptest.ResponseRecorder{<-first, <-second} {
			if done.Code != 200 {
				t.Errorf("a client saw %d", done.Code)
			}
		}
		set(&w.a.figures, figures(0, 0, 600, 0))
		pass(10 * time.Second)
		if state := w.state(t, "a"); state != StateUp {
			t.Errorf("got state %s after the engine continued", state)
		}
	})
}

// A server whose figures stand although it answers gets a line now and then, and
// is up again with the first answer.
func TestFiguresStandButTheEngineDoesNot(t *testing.T) {
	inTime(t, func(t *testing.T, w *timed) {
		w.apply(t, Config{Upstreams: []UpstreamConfig{{URL: "http://a"}}})
		set(&w.a.figures, figures(1, 3, 500, 0.25))
		pass(time.Minute)
		if state := w.state(t, "a"); state != StateUp {
			t.Fatalf("state %s without a request", state)
		}
		release := make(chan struct{})
		set(&w.a.serve, func(rw http.ResponseWriter, r *http.Request) {
			_, _ = io.Copy(io.Discard, r.Body)
			select {
			case <-release:
				answerJSON(rw, r)
			case <-r.Context().Done():
			}
		})
		ctx, cancel := context.WithCancel(t.Context())
		slow := w.post(ctx, nil)
		pass(15 * time.Second)
		if state := w.state(t, "a"); state != StateSuspect {
			t.Fatalf("state %s while a request hangs", state)
		}
		cancel() // the client leaves
		<-slow
		close(release)
		sent := false
		for range 30 {
			pass(time.Second)
			s, err := w.pool.Reserve(model, "")
			if err != nil {
				continue
			}
			a, err := s.Send(t.Context(), endpoint, []byte(chatBody(model)))
			s.Release()
			if sent = err == nil && a.Status == http.StatusOK; !sent {
				t.Fatalf("%+v, %v", a, err)
			}
			break
		}
		if !sent {
			t.Fatal("no line was tried in 30 s")
		}
		if state := w.state(t, "a"); state != StateUp {
			t.Errorf("state %s after an answer", state)
		}
	})
}
