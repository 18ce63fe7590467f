package upstreams

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"go.uber.org/zap"
)

// ask sends a live request for a model and waits for its end.
func (w *timed) ask(t *testing.T, model string) int {
	t.Helper()
	out := httptest.NewRecorder()
	func() {
		defer func() { _ = recover() }() // a cut
		NewProxy(w.pool, zap.NewNop(), nil).ServeHTTP(out, httptest.NewRequest("POST", "/v1/chat/completions", strings.NewReader(chatBody(model))))
	}()
	return out.Code
}

// problem returns the only problem of the pool.
func (w *timed) problem(t *testing.T) ModelStatus {
	t.Helper()
	all := w.pool.Problems()
	if len(all) != 1 {
		t.Fatalf("problems %+v, want one", all)
	}
	return all[0]
}

func (w *timed) wantNone(t *testing.T, when string) {
	t.Helper()
	if all := w.pool.Problems(); len(all) != 0 {
		t.Errorf("%s: problems %+v, want none", when, all)
	}
}

func wantWords(t *testing.T, text string, words ...string) {
	t.Helper()
	for _, w := range words {
		if !strings.Contains(text, w) {
			t.Errorf("%q lacks %q", text, w)
		}
	}
}

// A model whose servers are drained is a problem from the moment of the drain,
// with who drained them and how many live requests were refused since.
func TestProblemOfDrainedModel(t *testing.T) {
	inTime(t, func(t *testing.T, w *timed) {
		pass(time.Hour)
		w.wantNone(t, "all up")
		if err := w.pool.DrainBy("http://a", "the dashboard"); err != nil {
			t.Fatal(err)
		}
		first := time.Now()
		w.wantNone(t, "one of two is drained")
		pass(time.Minute)
		if err := w.pool.DrainBy("http://b", "an API client"); err != nil {
			t.Fatal(err)
		}
		drained := time.Now()
		pass(10 * time.Minute)
		for range 7 {
			if got := w.ask(t, model); got != http.StatusServiceUnavailable {
				t.Fatalf("status %d, want 503", got)
			}
		}
		p := w.problem(t)
		if p.Problem != ProblemNoServer || !p.Failing || p.Model != model || p.Servers != 2 || p.Available != 0 || p.Failed != 7 || !p.Since.Equal(drained) {
			t.Errorf("problem %+v, want no_server since %v with 7 refused", p, drained)
		}
		wantWords(t, p.Reason, "http://a is drained since "+first.UTC().Format(time.DateTime)+" UTC by the dashboard", "http://b is drained since", "by an API client")
		s := statusOf(t, w.pool, "http://a")
		if s.State != StateDraining || !s.Since.Equal(first) || !s.DrainedAt.Equal(first) || s.DrainedBy != "the dashboard" {
			t.Errorf("status %+v, want draining since %v by the dashboard", s, first)
		}
		if err := w.pool.Undrain("http://a"); err != nil {
			t.Fatal(err)
		}
		if p := w.problem(t); p.Problem != ProblemErrors {
			t.Errorf("after the drain: %+v, want live_errors", p)
		}
		pass(errorsFresh + time.Second)
		if p := w.problem(t); p.Failing {
			t.Errorf("half a minute after the last failure: %+v, want a warning", p)
		}
		pass(5 * time.Minute)
		w.wantNone(t, "five minutes later")
		if s := statusOf(t, w.pool, "http://a"); !s.DrainedAt.IsZero() || s.DrainedBy != "" || s.Since.Equal(first) {
			t.Errorf("status %+v after undrain", s)
		}
	})
}

// TestProblemReasons checks that the reason is the state of the last server of a model.
func TestProblemReasons(t *testing.T) {
	for _, c := range []struct {
		name  string
		cause func(t *testing.T, w *timed) // keeps http://a from its requests
		kind  ProblemKind
		words []string
	}{
		{"down", func(t *testing.T, w *timed) {
			set(&w.a.health, func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) })
			set(&w.a.serve, func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) })
		}, ProblemNoServer, []string{"http://a is down since"}},
		{"loading", func(t *testing.T, w *timed) {
			set(&w.a.health, answerStatus(503, "text/plain", "loading"))
		}, "", nil}, // the last server stays busy and gets requests
		{"suspect", func(t *testing.T, w *timed) {
			set(&w.a.serve, answerStatus(401, "application/json", `{"error":"Unauthorized"}`))
			w.ask(t, model)
		}, ProblemSuspect, []string{"http://a is suspect since", "refuses the gateway's key"}},
		{"without the model that it lists", func(t *testing.T, w *timed) {
			set(&w.a.serve, answerStatus(404, "application/json", `{"error":{"message":"The model m does not exist.","type":"NotFoundError","code":404}}`))
			w.ask(t, model)
		}, ProblemNoServer, []string{"http://a answers that it does not have the model"}},
		{"drained and down", func(t *testing.T, w *timed) {
			if err := w.pool.Drain("http://a"); err != nil {
				t.Fatal(err)
			}
			set(&w.a.health, func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) })
		}, ProblemNoServer, []string{"http://a is drained since", "and down"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			inTime(t, func(t *testing.T, w *timed) {
				w.apply(t, Config{Upstreams: []UpstreamConfig{{URL: "http://a"}}})
				w.wantNone(t, "before")
				c.cause(t, w)
				if c.name != "without the model that it lists" {
					pass(20 * time.Second)
				}
				if c.kind == "" {
					w.wantNone(t, "after")
					return
				}
				p := w.problem(t)
				if p.Problem != c.kind || !p.Failing || p.Since.IsZero() || p.Remedy == "" || p.Servers != 1 || p.Available != 0 {
					t.Errorf("problem %+v, want %s", p, c.kind)
				}
				wantWords(t, p.Reason, c.words...)
			})
		})
	}
}

// A model that its servers dropped, or whose server was taken out of the
// configuration, is a problem as long as clients ask for it.
func TestProblemOfDroppedModel(t *testing.T) {
	inTime(t, func(t *testing.T, w *timed) {
		set(&w.a.listed, makeFake("n").list)
		set(&w.b.listed, makeFake("n").list)
		pass(time.Minute)
		w.wantNone(t, "while no client asks for it")
		dropped := time.Now()
		for range 3 {
			if got := w.ask(t, model); got != http.StatusNotFound {
				t.Fatalf("status %d, want 404", got)
			}
		}
		p := w.problem(t)
		if p.Model != model || p.Problem != ProblemNoServer || !p.Failing || p.Servers != 0 || p.Failed != 3 || p.Since.After(dropped) {
			t.Errorf("problem %+v, want no_server with 3 refused", p)
		}
		if e := w.pool.LiveErrors(); e.Requests != 3 || e.Failed != 3 {
			t.Errorf("live errors %+v, want 3 of 3", e)
		}
		if got := w.ask(t, "never heard of"); got != http.StatusNotFound {
			t.Fatalf("status %d, want 404", got)
		}
		if e := w.pool.LiveErrors(); e.Requests != 4 || e.Failed != 3 {
			t.Errorf("live errors %+v, want 3 of 4: a name that no server has told is the client's fault", e)
		}
		pass(recordWindow + recordStep)
		w.wantNone(t, "when no client asks for it any more")
		set(&w.a.listed, w.a.list)
		pass(time.Minute)
		if got := w.ask(t, model); got != http.StatusOK {
			t.Fatalf("status %d, want 200", got)
		}
		w.wantNone(t, "loaded again")
	})
}

// Live requests that fail while the model has servers are a problem from a
// hundredth on, and a failing one from a tenth on.
func TestProblemOfLiveErrors(t *testing.T) {
	for _, c := range []struct {
		name         string
		good, failed int
		want         ProblemKind
		failing      bool
	}{
		{"none", 100, 0, "", false},
		{"few", 2, 2, "", false},
		{"rare", 400, 3, "", false},
		{"a hundredth", 297, 3, ProblemErrors, false},
		{"a tenth", 27, 3, ProblemErrors, true},
		{"all", 0, 3, ProblemErrors, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			inTime(t, func(t *testing.T, w *timed) {
				fail := true
				h := func(rw http.ResponseWriter, r *http.Request) {
					if fail {
						thenCut(streamed(sseEvent))(rw, r)
						return
					}
					answerJSON(rw, r)
				}
				set(&w.a.serve, h)
				set(&w.b.serve, h)
				for range c.failed {
					w.ask(t, model)
				}
				fail = false
				for range c.good {
					w.ask(t, model)
				}
				all := w.pool.Problems()
				if c.want == "" {
					w.wantNone(t, "now")
				} else if len(all) != 1 || all[0].Problem != c.want || all[0].Failing != c.failing || all[0].Failed != int64(c.failed) {
					t.Errorf("problems %+v, want %s, failing %v", all, c.want, c.failing)
				}
				if e := w.pool.LiveErrors(); e.Requests != int64(c.good+c.failed) || e.Failed != int64(c.failed) {
					t.Errorf("live errors %+v, want %d of %d", e, c.failed, c.good+c.failed)
				}
			})
		})
	}
}

// The window of live errors does not begin before the gateway does, and what is
// older than it is not counted.
func TestLiveErrorsWindow(t *testing.T) {
	inTime(t, func(t *testing.T, w *timed) {
		pass(42*time.Second - time.Since(w.pool.unknownModels.begun))
		w.ask(t, model)
		if e := w.pool.LiveErrors(); e.Seconds != 42 || e.Requests != 1 {
			t.Errorf("%+v, want one request in 42 seconds", e)
		}
		pass(time.Hour)
		if e := w.pool.LiveErrors(); e.Seconds > 300 || e.Seconds < 290 || e.Requests != 0 {
			t.Errorf("%+v, want none in five minutes", e)
		}
	})
}

// A client that leaves has not failed.
func TestClientsThatLeaveAreNoErrors(t *testing.T) {
	inTime(t, func(t *testing.T, w *timed) {
		set(&w.a.serve, hang)
		set(&w.b.serve, hang)
		for range 5 {
			ctx, cancel := context.WithCancel(t.Context())
			done := w.post(ctx, nil)
			pass(time.Second)
			cancel()
			<-done
		}
		// One that leaves in mid-stream.
		set(&w.a.serve, func(rw http.ResponseWriter, r *http.Request) {
			streamed(sseEvent)(rw, r)
			<-r.Context().Done()
		})
		set(&w.b.serve, *w.a.serve.Load())
		ctx, cancel := context.WithCancel(t.Context())
		done := w.post(ctx, nil)
		pass(time.Second)
		cancel()
		<-done
		if e := w.pool.LiveErrors(); e.Requests != 0 || e.Failed != 0 {
			t.Errorf("live errors %+v, want none", e)
		}
	})
}

// Requests that come while servers load are failures of no model.
func TestLiveErrorsBeforeModelsAreKnown(t *testing.T) {
	p := NewPool(zap.NewNop())
	if err := p.Apply(calm("http://127.0.0.1:1")); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		w := httptest.NewRecorder()
		NewProxy(p, zap.NewNop(), nil).ServeHTTP(w, httptest.NewRequest("POST", "/v1/chat/completions", strings.NewReader(chatBody(model))))
		_, _ = io.Copy(io.Discard, w.Body)
		if w.Code != http.StatusServiceUnavailable {
			t.Fatalf("status %d, want 503", w.Code)
		}
	}
	all := p.Problems()
	if len(all) != 1 || all[0].Model != "" || all[0].Problem != ProblemErrors || !all[0].Failing || all[0].Failed != 3 {
		t.Errorf("problems %+v, want live_errors of no model", all)
	}
}

// Records of models that no server has any more are bounded.
func TestModelRecordsAreBounded(t *testing.T) {
	p := NewPool(zap.NewNop())
	now := time.Now()
	p.mu.Lock()
	defer p.mu.Unlock()
	for i := range 2 * recordsKept {
		p.record(strings.Repeat("x", i+1), now)
		p.records[strings.Repeat("x", i+1)].served(now.Add(time.Duration(i)*time.Second), false)
	}
	p.publish()
	if len(p.records) != recordsKept || p.records["x"] != nil || p.records[strings.Repeat("x", 2*recordsKept)] == nil {
		t.Errorf("%d records are kept, want the %d that were dropped last", len(p.records), recordsKept)
	}
}
