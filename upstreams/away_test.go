package upstreams

import (
	"errors"
	"net"
	"net/http"
	"testing"
	"time"
)

// A server that may be stopped is away while nothing listens: neither it nor its
// model is a problem, unless another server of the model is always there or clients
// ask for it.
func TestStoppedServerIsAway(t *testing.T) {
	const host = "http://a"
	stop := func(w *timed) {
		set(&w.a.health, func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) })
		set(&w.a.serve, func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) })
	}
	t.Run("no problem", func(t *testing.T) {
		inTime(t, func(t *testing.T, w *timed) {
			w.apply(t, Config{Upstreams: []UpstreamConfig{{URL: host, ScaleToZero: true}}})
			stop(w)
			pass(20 * time.Second)
			if state := w.state(t, "a"); state != StateAway {
				t.Errorf("state is %s, want away", state)
			}
			w.wantNone(t, "while it is stopped")
			if _, err := w.pool.Reserve(model, ""); !errors.Is(err, ErrAway) || !errors.Is(err, ErrDown) {
				t.Errorf("Reserve: %v, want ErrAway", err)
			}
			for range errorsFew {
				w.ask(t, model)
			}
			if p := w.problem(t); p.Problem != ProblemNoServer || !p.Failing {
				t.Errorf("with clients the problem is %+v, want no_server", p)
			}
			set(&w.a.health, func(http.ResponseWriter, *http.Request) {})
			pass(20 * time.Second)
			if state := w.state(t, "a"); state != StateUp {
				t.Errorf("state after its start is %s, want up", state)
			}
		})
	})
	t.Run("another server is always there", func(t *testing.T) {
		inTime(t, func(t *testing.T, w *timed) {
			w.b.models = w.a.models
			w.apply(t, Config{Upstreams: []UpstreamConfig{{URL: host, ScaleToZero: true}, {URL: "http://b"}}})
			pass(time.Minute)
			stop(w)
			set(&w.b.health, func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) })
			pass(20 * time.Second)
			if p := w.problem(t); p.Problem != ProblemNoServer || !p.Failing {
				t.Errorf("problem is %+v, want no_server", p)
			}
			if _, err := w.pool.Reserve(model, ""); errors.Is(err, ErrAway) || !errors.Is(err, ErrDown) {
				t.Errorf("Reserve: %v, want ErrDown alone", err)
			}
		})
	})
	t.Run("never started", func(t *testing.T) {
		inTime(t, func(t *testing.T, w *timed) {
			w.apply(t, Config{Upstreams: []UpstreamConfig{{URL: "http://missing", ScaleToZero: true}}})
			pass(20 * time.Second)
			if state := w.state(t, "missing"); state != StateAway {
				t.Errorf("state is %s, want away", state)
			}
			if _, err := w.pool.Reserve("new", ""); !errors.Is(err, ErrAway) {
				t.Errorf("Reserve: %v, want ErrAway", err)
			}
		})
	})
	t.Run("it answers, but not well", func(t *testing.T) {
		inTime(t, func(t *testing.T, w *timed) {
			w.b.models = w.a.models
			w.apply(t, Config{Upstreams: []UpstreamConfig{{URL: host}, {URL: "http://b", ScaleToZero: true}}})
			pass(time.Minute)
			set(&w.b.health, answerStatus(500, "text/plain", "out of memory"))
			pass(time.Minute)
			if state := w.state(t, "b"); state != StateDown {
				t.Errorf("state is %s, want down", state)
			}
		})
	})
}

func TestUnresolved(t *testing.T) {
	if !unresolved(&net.DNSError{IsNotFound: true}) || unresolved(&net.DNSError{IsTemporary: true}) {
		t.Error("only a name that does not exist is unresolved")
	}
}
