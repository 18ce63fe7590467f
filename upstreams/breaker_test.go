package upstreams

import (
	"bytes"
	"compress/gzip"
	"compress/zlib"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/klauspost/compress/zstd"
)

// A server whose key is refused costs a trial now and then, and is back by
// itself.
func TestTrialsOfASuspect(t *testing.T) {
	inTime(t, func(t *testing.T, w *timed) {
		set(&w.a.serve, answerStatus(401, "application/json", `{"error":"Unauthorized"}`))
		set(&w.b.serve, answerStatus(401, "application/json", `{"error":"Unauthorized"}`))
		send := func() Next {
			t.Helper()
			s, err := w.pool.Reserve(model, "")
			if err != nil {
				t.Fatal(err)
			}
			defer s.Release()
			a, err := s.Send(t.Context(), endpoint, []byte(chatBody(model)))
			if err != nil {
				t.Fatal(err)
			}
			return a.Next
		}
		for range 2 {
			if got := send(); got != Elsewhere {
				t.Fatalf("got %v, want Elsewhere", got)
			}
		}
		_, err := w.pool.Reserve(model, "")
		if suspect, ok := errors.AsType[*SuspectError](err); !ok || !errors.Is(err, ErrDown) || !strings.Contains(suspect.Reason, "key") {
			t.Fatalf("both refuse: %v", err)
		}
		sent := 0
		for range 120 { // two minutes
			time.Sleep(time.Second)
			for {
				s, err := w.pool.Reserve(model, "")
				if err != nil {
					break
				}
				if _, err := s.Send(t.Context(), endpoint, []byte(chatBody(model))); err != nil {
					t.Fatal(err)
				}
				s.Release()
				sent++
			}
		}
		if sent < 10 || sent > 40 {
			t.Errorf("%d trials of two servers in two minutes", sent)
		}
		for _, up := range []string{"a", "b"} {
			if s := w.state(t, up); s != StateSuspect {
				t.Errorf("%s is %s", up, s)
			}
		}
		set(&w.a.serve, answerJSON)
		set(&w.b.serve, answerJSON)
		time.Sleep(trialDelayMax)
		if err := w.pool.Up(model); !errors.Is(err, ErrTrial) {
			t.Errorf("Up before the trial: %v", err)
		}
		for range 2 {
			if got := send(); got != Final {
				t.Errorf("trial: %v", got)
			}
		}
		if err := w.pool.Up(model); err != nil {
			t.Errorf("Up after it: %v", err)
		}
	})
}

// A prompt that makes its server answer 500 while others are answered costs
// retries; a server that answers 500 to everything costs none.
func TestWhose500(t *testing.T) {
	f := newFake(t)
	p := startPool(t, calm(f.URL))
	send := func(body string) Next {
		t.Helper()
		u := p.now.Load().upstreams[0]
		u.trialAt.Store(min(u.trialAt.Load(), 1)) // the trial is due
		s := reserve(t, p, "")
		defer s.Release()
		a, err := s.Send(t.Context(), endpoint, []byte(body))
		if err != nil {
			t.Fatal(err)
		}
		return a.Next
	}
	broken := answerStatus(500, "application/json", `{"error":{"message":"EngineCore encountered an issue","type":"InternalServerError","param":null,"code":500}}`)
	set(&f.serve, broken)
	for i := range 20 {
		if got := send(chatBody(model) + strings.Repeat(" ", i)); got != Elsewhere {
			t.Fatalf("line %d of a broken server: %v", i, got)
		}
	}
	set(&f.serve, answerJSON)
	if send(chatBody(model)) != Final || statusOf(t, p, f.URL).State != StateUp {
		t.Fatal("not up after an answer")
	}
	// Another is answered while it runs.
	set(&f.serve, func(w http.ResponseWriter, r *http.Request) {
		text, _ := io.ReadAll(r.Body)
		if !strings.Contains(string(text), "poison") {
			answerJSON(w, r)
			return
		}
		other := &Slot{pool: p, up: p.now.Load().upstreams[0], model: model}
		if _, err := other.Send(t.Context(), endpoint, []byte(chatBody(model))); err != nil {
			t.Error(err)
		}
		broken(w, r)
	})
	if got := send(`{"model":"m","poison":1}`); got != Again || statusOf(t, p, f.URL).State != StateUp {
		t.Errorf("a poisoned line: %v, the server is %s", got, statusOf(t, p, f.URL).State)
	}
	// It is alone.
	set(&f.serve, broken)
	if got := send(`{"model":"m","poison":2}`); got != Elsewhere {
		t.Errorf("alone, the first time: %v", got)
	}
	if got := send(`{"model":"m","poison":2}`); got != Again {
		t.Errorf("alone, again: %v", got)
	}
}

// A full server gets less, and more again.
func TestSaturation(t *testing.T) {
	inTime(t, func(t *testing.T, w *timed) {
		if err := w.pool.Drain("http://b"); err != nil {
			t.Fatal(err)
		}
		full := answerStatus(503, "application/json", `{"error":{"message":"full","type":"x","param":null,"code":503}}`)
		set(&w.a.serve, full)
		var held []*Slot
		for range 10 {
			held = append(held, reserve(t, w.pool, ""))
		}
		if a, err := held[0].Send(t.Context(), endpoint, []byte(chatBody(model))); err != nil || a.Next != Elsewhere {
			t.Fatalf("%+v, %v", a, err)
		}
		held[0].Release()
		if _, err := w.pool.Reserve(model, ""); !errors.Is(err, ErrBusy) {
			t.Errorf("at once: %v", err)
		}
		time.Sleep(fullFirst)
		if _, err := w.pool.Reserve(model, ""); !errors.Is(err, ErrBusy) {
			t.Errorf("as many as before: %v", err)
		}
		set(&w.a.serve, answerJSON)
		for _, s := range held[1:] {
			if _, err := s.Send(t.Context(), endpoint, []byte(chatBody(model))); err != nil {
				t.Fatal(err)
			}
			s.Release()
		}
		held = held[:0]
		for {
			s, err := w.pool.Reserve(model, "")
			if err != nil {
				break
			}
			held = append(held, s)
		}
		if len(held) != 10 {
			t.Errorf("%d fit after 9 answers, want 10", len(held))
		}
		for _, s := range held {
			s.Release()
		}
	})
}

// TestCompressedAnswers has servers that compress responses without a request for it.
func TestCompressedAnswers(t *testing.T) {
	pack := map[string]func(io.Writer) io.WriteCloser{
		"gzip":    func(w io.Writer) io.WriteCloser { return gzip.NewWriter(w) },
		"deflate": func(w io.Writer) io.WriteCloser { return zlib.NewWriter(w) },
		"zstd": func(w io.Writer) io.WriteCloser {
			z, err := zstd.NewWriter(w)
			if err != nil {
				panic(err)
			}
			return z
		},
	}
	for coding, writer := range pack {
		t.Run(coding, func(t *testing.T) {
			var b bytes.Buffer
			z := writer(&b)
			_, _ = io.WriteString(z, jsonAnswer)
			z.Close()
			f := newFake(t)
			set(&f.serve, func(w http.ResponseWriter, r *http.Request) {
				w.Header().Set("Content-Encoding", coding)
				answerStatus(200, "application/json", b.String())(w, r)
			})
			p := startPool(t, calm(f.URL))
			a := newGateway(t, p).post(t, "/v1/chat/completions", chatBody(model))
			a.wantOK(t, jsonAnswer)
			if a.header.Get("Content-Encoding") != "" {
				t.Errorf("header %v", a.header)
			}
			s := reserve(t, p, "")
			defer s.Release()
			if line, err := s.Send(t.Context(), endpoint, []byte(chatBody(model))); err != nil || string(line.Body) != jsonAnswer {
				t.Errorf("line: %+v, %v", line, err)
			}
		})
	}
	f := newFake(t)
	set(&f.serve, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Encoding", "br")
		answerStatus(200, "application/json", "\x0b\x02\x80{}\x03")(w, r)
	})
	p := startPool(t, calm(f.URL))
	g := newGateway(t, p)
	g.post(t, "/v1/chat/completions", chatBody(model), "Accept-Encoding", "identity").wantError(t, 502, "")
	if a := g.post(t, "/v1/chat/completions", chatBody(model), "Accept-Encoding", "gzip, br"); a.status != 200 || a.header.Get("Content-Encoding") != "br" {
		t.Errorf("to a client that takes br: %+v", a)
	}
	s := reserve(t, p, "")
	defer s.Release()
	_, err := s.Send(t.Context(), endpoint, []byte(chatBody(model)))
	if e, ok := errors.AsType[*SendError](err); !ok || !e.Unreadable || !strings.Contains(e.Error(), "'br'") {
		t.Errorf("line: %v", err)
	}
	// A little that becomes much.
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	_, _ = z.Write(bytes.Repeat([]byte(" "), 1<<20))
	z.Close()
	set(&f.serve, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Encoding", "gzip")
		answerStatus(200, "application/json", b.String())(w, r)
	})
	cfg := calm(f.URL)
	cfg.MaxAnswer = 100 << 10
	p = startPool(t, cfg)
	s2 := reserve(t, p, "")
	defer s2.Release()
	_, err = s2.Send(t.Context(), endpoint, []byte(chatBody(model)))
	if e, ok := errors.AsType[*SendError](err); !ok || !e.TooLarge {
		t.Errorf("a bomb: %v", err)
	}
}
