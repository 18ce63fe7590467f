package upstreams

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"

	"go.uber.org/zap"
)

const endpoint = "/v1/chat/completions"

func reserve(t *testing.T, p *Pool, avoid string) *Slot {
	t.Helper()
	slot, err := p.Reserve(model, avoid)
	if err != nil {
		t.Fatal(err)
	}
	return slot
}

// drained empties Freed.
func drained(p *Pool) {
	select {
	case <-p.Freed():
	default:
	}
}

func TestReserveKeepsToTheShare(t *testing.T) {
	f, h := newFake(t), newFake(t)
	cfg := calm(f.URL, h.URL)
	cfg.Upstreams[0].MaxNumSeqs, cfg.Upstreams[1].MaxNumSeqs = 8, 1
	cfg.BatchShare = .5
	p := startPool(t, cfg)
	per := make(map[string]int)
	var slots []*Slot
	for range 5 {
		slot := reserve(t, p, "")
		per[slot.Upstream()]++
		slots = append(slots, slot)
	}
	if per[f.URL] != 4 || per[h.URL] != 1 {
		t.Errorf("placed %v", per)
	}
	drained(p)
	wantFree := func(want bool) {
		t.Helper()
		if p.Free(model) != want || p.Free("nope") {
			t.Errorf("Free: %t, and %t of an unknown model", p.Free(model), p.Free("nope"))
		}
	}
	wantFree(false)
	if _, err := p.Reserve(model, ""); !errors.Is(err, ErrBusy) {
		t.Errorf("Reserve: %v", err)
	}
	slots[0].Release()
	slots[0].Release() // counts once
	receive(t, "Freed", p.Freed())
	wantFree(true)
	slots[0] = reserve(t, p, "")
	if _, err := p.Reserve(model, ""); !errors.Is(err, ErrBusy) {
		t.Errorf("Reserve: %v", err)
	}
	if _, err := p.Reserve("nope", ""); !errors.Is(err, ErrUnknownModel) {
		t.Errorf("Reserve: %v", err)
	}
	for _, s := range slots {
		s.Release()
	}
	wantIdle(t, p)
}

// Live requests take what they want; batch lines get no place on a server that
// they have filled, and a signal when one ends.
func TestLiveComesFirst(t *testing.T) {
	f := newFake(t)
	proceed := make(chan struct{})
	begun := make(chan struct{}, 10)
	set(&f.serve, func(w http.ResponseWriter, r *http.Request) {
		begun <- struct{}{}
		<-proceed
		answerJSON(w, r)
	})
	cfg := calm(f.URL)
	cfg.Upstreams[0].MaxNumSeqs = 4
	p := startPool(t, cfg)
	g := newGateway(t, p)
	slots := []*Slot{reserve(t, p, ""), reserve(t, p, ""), reserve(t, p, "")}
	answers := make(chan got, 5)
	for range 5 { // one more than the server runs: it waits here
		go func() { answers <- g.post(t, endpoint, chatBody(model)) }()
	}
	for range 4 {
		receive(t, "a live request is at the server", begun)
	}
	wantWaiting(t, p, 1)
	slots[0].Release()
	drained(p)
	if _, err := p.Reserve(model, ""); !errors.Is(err, ErrBusy) {
		t.Errorf("Reserve beside 4 live requests: %v", err)
	}
	drained(p)
	close(proceed)
	for range 5 {
		receive(t, "an answer", answers).wantOK(t, jsonAnswer)
	}
	receive(t, "Freed", p.Freed())
	wantLive := func() bool { s := p.Status()[0]; return s.LiveInFlight == 0 }
	until(t, "live requests are over", wantLive)
	// Of the three slots, some may still be kept for the next live requests.
	slots[1].Release()
	slots[2].Release()
	reserve(t, p, "").Release()
}

// No signal is lost, in any order.
func TestFreedIsNeverMissed(t *testing.T) {
	f := newFake(t)
	cfg := calm(f.URL)
	cfg.Upstreams[0].MaxNumSeqs = 2
	p := startPool(t, cfg)
	const lines = 3000
	holders := make(chan *Slot)
	var releasing sync.WaitGroup
	for range 4 {
		releasing.Go(func() {
			for s := range holders {
				s.Release()
			}
		})
	}
	for range lines {
		for {
			s, err := p.Reserve(model, "")
			if err == nil {
				holders <- s
				break
			}
			receive(t, "Freed", p.Freed())
		}
	}
	close(holders)
	releasing.Wait()
	wantIdle(t, p)
}

func TestReserveAvoids(t *testing.T) {
	f, h := newFake(t), newFake(t)
	cfg := calm(f.URL, h.URL)
	cfg.Upstreams[0].MaxNumSeqs, cfg.Upstreams[1].MaxNumSeqs = 4, 4
	p := startPool(t, cfg)
	var slots []*Slot
	for range 3 {
		s := reserve(t, p, f.URL)
		if s.Upstream() != h.URL {
			t.Errorf("placed on the one to avoid")
		}
		slots = append(slots, s)
	}
	s := reserve(t, p, f.URL) // the other one is full
	if s.Upstream() != f.URL {
		t.Errorf("placed on %s", s.Upstream())
	}
	for _, s := range append(slots, s) {
		s.Release()
	}
}

// Whether a line may run on an upstream is asked only for one with a free slot: for one
// that is full, the answer would be taken for the reason why no line starts.
func TestReserveFitAsksForFreeSlotsOnly(t *testing.T) {
	a, b := newFake(t), newFake(t)
	cfg := calm(a.URL, b.URL)
	cfg.Upstreams[0].MaxNumSeqs = 4
	p := startPool(t, cfg)
	for {
		s, err := p.ReserveFit(model, "", func(url string) bool { return url == a.URL })
		if err != nil {
			break
		}
		defer s.Release()
	}
	var asked []string
	s, err := p.ReserveFit(model, "", func(url string) bool { asked = append(asked, url); return true })
	if err != nil {
		t.Fatal(err)
	}
	s.Release()
	if !slices.Equal(asked, []string{b.URL}) {
		t.Errorf("asked for: got %q, want only %q, as the other one is full", asked, b.URL)
	}
}

func TestSend(t *testing.T) {
	f := newFake(t)
	body := `{"model":"m", "x":1.0}`
	requests := make(chan *http.Request, 1)
	bodies := make(chan string, 1)
	set(&f.serve, func(w http.ResponseWriter, r *http.Request) {
		text, _ := io.ReadAll(r.Body)
		requests <- r
		bodies <- string(text)
		w.Header().Set("X-Request-Id", "of-the-server")
		answerJSON(w, r)
	})
	cfg := calm(f.URL)
	cfg.APIKey = "key"
	p := startPool(t, cfg)
	s := reserve(t, p, "")
	defer s.Release()
	a, err := s.Send(t.Context(), "/v1/classify", []byte(body))
	if err != nil || a.Status != 200 || string(a.Body) != jsonAnswer || a.RequestID != "of-the-server" {
		t.Fatalf("%+v, %v", a, err)
	}
	r := receive(t, "the request", requests)
	if got := receive(t, "the body", bodies); got != body || r.URL.Path != "/classify" || r.Header.Get("Authorization") != "Bearer key" || r.Header.Get("Content-Type") != "application/json" || r.ContentLength != int64(len(body)) {
		t.Errorf("server got %s %v %q", r.URL.Path, r.Header, got)
	}
	if _, err := s.Send(t.Context(), "/reset_prefix_cache", []byte(body)); err == nil {
		t.Error("a control route was called")
	}
}

func TestSendFails(t *testing.T) {
	large := `{"x":"` + strings.Repeat("a", 3000) + `"}`
	for name, tt := range map[string]struct {
		serve  http.HandlerFunc
		status int // of an answer; 0 for an error
		want   SendError
	}{
		"429":               {answerStatus(429, "application/json", `{}`), 429, SendError{}},
		"500":               {answerStatus(500, "application/json", `{}`), 500, SendError{}},
		"503 in HTML":       {answerStatus(503, "text/html", `<html>`), 503, SendError{}},
		"200 in HTML":       {answerStatus(200, "text/html", `<html>`), 502, SendError{}},
		"a redirect":        {redirectTo("/elsewhere"), 502, SendError{}},
		"a cut":             {raw(""), 0, SendError{Sent: true}},
		"a cut in mid-body": {raw("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nabc"), 0, SendError{Sent: true}},
		"a large answer":    {answerStatus(200, "application/json", large), 0, SendError{Sent: true, TooLarge: true}},
		"a large one, chunked": {func(w http.ResponseWriter, r *http.Request) {
			w.(http.Flusher).Flush()
			io.WriteString(w, large)
		}, 0, SendError{Sent: true, TooLarge: true}},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFake(t)
			set(&f.serve, tt.serve)
			cfg := calm(f.URL)
			cfg.MaxAnswer = 2000
			p := startPool(t, cfg)
			s := reserve(t, p, "")
			defer s.Release()
			a, err := s.Send(t.Context(), endpoint, []byte(chatBody(model)))
			if tt.status != 0 {
				if err != nil || a.Status != tt.status {
					t.Fatalf("%+v, %v", a, err)
				}
				if !strings.HasPrefix(string(a.Body), "{") {
					t.Errorf("body %s", a.Body)
				}
				return
			}
			e, ok := errors.AsType[*SendError](err)
			if !ok || e.Sent != tt.want.Sent || e.Crashed != tt.want.Crashed || e.TooLarge != tt.want.TooLarge {
				t.Fatalf("%+v, %v", e, err)
			}
			if strings.Contains(e.Error(), "127.0.0.1") {
				t.Errorf("%q has an address", e.Error())
			}
		})
	}
}

func TestSendToADeadServer(t *testing.T) {
	f := newFake(t)
	p := probedPool(t, calm(f.URL)) // a probe would leave an idle connection
	p.closeIdle()
	s := reserve(t, p, "")
	defer s.Release()
	f.Close()
	_, err := s.Send(t.Context(), endpoint, []byte(chatBody(model)))
	if e, ok := errors.AsType[*SendError](err); !ok || e.Sent || e.Crashed {
		t.Errorf("%+v, %v", e, err)
	}
	if statusOf(t, p, f.URL).State != StateDown {
		t.Error("it is not down")
	}
}

// A line that takes its server down.
func TestSendCrashes(t *testing.T) {
	f := makeFake()
	f.Server = httptest.NewServer(f)
	p := startPool(t, calm(f.URL))
	set(&f.serve, func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		f.Listener.Close()
		go f.Close() // waits for this request
		panic(http.ErrAbortHandler)
	})
	s := reserve(t, p, "")
	defer s.Release()
	_, err := s.Send(t.Context(), endpoint, []byte(chatBody(model)))
	if e, ok := errors.AsType[*SendError](err); !ok || !e.Sent || !e.Crashed {
		t.Errorf("%+v, %v", e, err)
	}
	if statusOf(t, p, f.URL).State != StateDown {
		t.Error("it is not down")
	}
}

func TestSendCanceled(t *testing.T) {
	f := newFake(t)
	begun, aborted := make(chan struct{}), make(chan struct{})
	set(&f.serve, func(_ http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		close(begun)
		<-r.Context().Done()
		close(aborted)
	})
	p := startPool(t, calm(f.URL))
	s := reserve(t, p, "")
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() {
		_, err := s.Send(ctx, endpoint, []byte(chatBody(model)))
		done <- err
	}()
	receive(t, "the request runs", begun)
	cancel()
	receive(t, "the server sees the abort", aborted)
	if err := receive(t, "Send returns", done); !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
	s.Release()
	if st := statusOf(t, p, f.URL); st.Failures != 0 || st.State != StateUp {
		t.Errorf("the server is blamed: %+v", st)
	}
}

// A hanging server gives up its lines as well.
func TestSendHangs(t *testing.T) {
	inTime(t, func(t *testing.T, w *timed) {
		set(&w.b.serve, hang)
		s, err := w.pool.Reserve(model, "http://a")
		if err != nil || s.Upstream() != "http://b" {
			t.Fatalf("%v, %v", s, err)
		}
		set(&w.b.health, hang)
		_, err = s.Send(t.Context(), endpoint, []byte(chatBody(model)))
		if e, ok := errors.AsType[*SendError](err); !ok || !e.Sent || !errors.Is(err, errHung) {
			t.Errorf("%+v, %v", e, err)
		}
		s.Release()
	})
}

// The end of loading is signalled.
func TestFreedWhenUp(t *testing.T) {
	f := newFake(t)
	set(&f.health, answerStatus(503, "application/json", "{}"))
	p := NewPool(zap.NewNop())
	if err := p.Apply(quick(f.URL)); err != nil {
		t.Fatal(err)
	}
	p.Start()
	t.Cleanup(p.Close)
	until(t, "it was probed", func() bool { return statusOf(t, p, f.URL).Reason != "" })
	drained(p)
	if _, err := p.Reserve(model, ""); !errors.Is(err, ErrDown) {
		t.Fatalf("Reserve: %v", err)
	}
	if err := p.Up(model); !errors.Is(err, ErrDown) {
		t.Errorf("Up: %v", err)
	}
	set(&f.health, func(http.ResponseWriter, *http.Request) {})
	receive(t, "Freed", p.Freed())
	if err := p.Up(model); err != nil {
		t.Errorf("Up: %v", err)
	}
	if err := p.Up("other"); !errors.Is(err, ErrUnknownModel) {
		t.Errorf("Up of an unknown model: %v", err)
	}
	reserve(t, p, "").Release()
}
