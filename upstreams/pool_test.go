package upstreams

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/zap"
)

func TestConfigValidate(t *testing.T) {
	one := func(u UpstreamConfig) Config { return Config{Upstreams: []UpstreamConfig{u}} }
	for name, tt := range map[string]struct {
		cfg  Config
		want string // the field; "" for a good one
	}{
		"nothing":          {Config{}, ""},
		"a server":         {one(UpstreamConfig{URL: "http://a:8000"}), ""},
		"all":              {Config{Upstreams: []UpstreamConfig{{URL: "https://a/vllm/", Weight: .5, MaxNumSeqs: 8}, {URL: "http://a/vllm"}}, APIKey: "k", BatchShare: 1, HealthInterval: 1}, ""},
		"an empty url":     {one(UpstreamConfig{}), "upstreams[0].url"},
		"no scheme":        {one(UpstreamConfig{URL: "localhost:8000"}), "upstreams[0].url"},
		"another scheme":   {one(UpstreamConfig{URL: "ftp://a"}), "upstreams[0].url"},
		"no host":          {one(UpstreamConfig{URL: "http:///x"}), "upstreams[0].url"},
		"a password":       {one(UpstreamConfig{URL: "http://u:secret@a"}), "upstreams[0].url"},
		"a query":          {one(UpstreamConfig{URL: "http://a?x=1"}), "upstreams[0].url"},
		"a fragment":       {one(UpstreamConfig{URL: "http://a#x"}), "upstreams[0].url"},
		"no url at all":    {one(UpstreamConfig{URL: "http://a\x7f"}), "upstreams[0].url"},
		"/v1":              {one(UpstreamConfig{URL: "http://a/v1/"}), ""},
		"with and without": {Config{Upstreams: []UpstreamConfig{{URL: "http://a"}, {URL: "http://a/v1"}}}, "upstreams[1].url"},
		"a key of its own": {one(UpstreamConfig{URL: "http://a", APIKey: "se\ncret"}), "upstreams[0].api_key"},
		"an escape":        {one(UpstreamConfig{URL: "http://a/x%2fy"}), "upstreams[0].url"},
		"twice":            {Config{Upstreams: []UpstreamConfig{{URL: "http://a"}, {URL: "HTTP://A/"}}}, "upstreams[1].url"},
		"a weight below 0": {one(UpstreamConfig{URL: "http://a", Weight: -1}), "upstreams[0].weight"},
		"no weight":        {one(UpstreamConfig{URL: "http://a", Weight: math.NaN()}), "upstreams[0].weight"},
		"endless weight":   {one(UpstreamConfig{URL: "http://a", Weight: math.Inf(1)}), "upstreams[0].weight"},
		"seqs below 0":     {one(UpstreamConfig{URL: "http://a", MaxNumSeqs: -1}), "upstreams[0].max_num_seqs"},
		"a large share":    {Config{BatchShare: 1.1}, "batch_share"},
		"a share below 0":  {Config{BatchShare: -.1}, "batch_share"},
		"no share":         {Config{BatchShare: math.NaN()}, "batch_share"},
		"a key of lines":   {Config{APIKey: "a\r\nX: y"}, "api_key"},
		"back in time":     {Config{HealthTimeout: -1}, "health_timeout"},
		"a buffer below 0": {Config{RetryBuffer: -1}, "retry_buffer"},
	} {
		t.Run(name, func(t *testing.T) {
			err := tt.cfg.Validate()
			if tt.want == "" && err != nil || tt.want != "" && (err == nil || !strings.HasPrefix(err.Error(), tt.want+":")) {
				t.Errorf("%v, want %q", err, tt.want)
			}
			if err != nil && strings.Contains(err.Error(), "secret") {
				t.Errorf("%v has the password", err)
			}
			if got := NewPool(zap.NewNop()).Apply(tt.cfg); (got == nil) != (err == nil) {
				t.Errorf("Apply: %v", got)
			}
		})
	}
}

func TestNewPoolDoesNothing(t *testing.T) {
	p := NewPool(zap.NewNop())
	if err := p.Apply(quick("http://127.0.0.1:1")); err != nil {
		t.Fatal(err)
	}
	if p.Ready() || p.discoveryComplete() || p.Status()[0].State != StateLoading {
		t.Errorf("status %+v", p.Status())
	}
	p.Close() // not started
}

// Idle servers are used evenly, busy ones by their weight, live requests first of all
// where the fewest prompts are pending.
func TestLeastWork(t *testing.T) {
	candidates := func(weights ...float64) []*Candidate {
		var all []*Candidate
		for i, w := range weights {
			all = append(all, &Candidate{URL: fmt.Sprint(i), Weight: w, upstream: &upstream{}})
		}
		return all
	}
	equal := candidates(1, 1, 1, 1)
	chosen := make(map[*Candidate]int)
	for range 4000 {
		chosen[LeastWork{}.Choose(equal, &Query{})]++
	}
	for _, c := range equal {
		if n := chosen[c]; n < 800 || n > 1200 {
			t.Errorf("chosen %d of 4000 times", n)
		}
	}
	weighted := candidates(1, 2, .5)
	for range 3500 {
		LeastWork{}.Choose(weighted, &Query{}).begin()
	}
	for i, want := range []int{1000, 2000, 500} {
		if got := weighted[i].InFlight(); got < want-2 || got > want+2 {
			t.Errorf("server %d has %d, want %d", i, got, want)
		}
	}
	pending := candidates(1, 1, 1)
	for i, c := range pending {
		c.telemetry.begun = time.Now()
		c.pace.perToken.store(1e9) // a second a token
		c.pace.beginUnseen(c.age(), Batch, int64(10*i))
		for range 10 - i {
			c.begin()
		}
	}
	for class, want := range map[Class]int{Live: 0, Batch: 2} {
		if got := (LeastWork{}).Choose(pending, &Query{Class: class}); got != pending[want] {
			t.Errorf("%s: server %s is chosen, want %d", class, got.URL, want)
		}
	}
}

func TestDrain(t *testing.T) {
	f, h := newFake(t), newFake(t)
	begun, proceed := make(chan struct{}), make(chan struct{})
	set(&f.serve, func(w http.ResponseWriter, r *http.Request) {
		close(begun)
		<-proceed
		answerJSON(w, r)
	})
	p := startPool(t, quick(f.URL, h.URL))
	g := newGateway(t, p)
	if err := p.Drain(h.URL + "/"); err != nil {
		t.Fatal(err)
	}
	running := make(chan got)
	go func() { running <- g.post(t, "/v1/chat/completions", chatBody(model)) }()
	receive(t, "the request runs", begun)
	if err := errors.Join(p.Drain(f.URL), p.Undrain(h.URL)); err != nil {
		t.Fatal(err)
	}
	if err := p.Apply(quick(h.URL, f.URL)); err != nil { // survives
		t.Fatal(err)
	}
	for range 20 {
		g.post(t, "/v1/chat/completions", chatBody(model)).wantOK(t, jsonAnswer)
		slot, err := p.Reserve(model, h.URL)
		if err != nil || slot.Upstream() != h.URL {
			t.Fatalf("slot %v, %v", slot, err)
		}
		slot.Release()
	}
	if s := statusOf(t, p, f.URL); s.State != StateDraining || !s.Draining || s.LiveInFlight != 1 {
		t.Errorf("status %+v", s)
	}
	close(proceed)
	receive(t, "the running request ends", running).wantOK(t, jsonAnswer)
	if err := p.Drain(h.URL); err != nil {
		t.Fatal(err)
	}
	g.post(t, "/v1/chat/completions", chatBody(model)).wantError(t, 503, "")
	if _, err := p.Reserve(model, ""); !errors.Is(err, ErrDown) || p.Ready() {
		t.Errorf("Reserve: %v, ready %v", err, p.Ready())
	}
	if err := p.Undrain(h.URL); err != nil {
		t.Fatal(err)
	}
	g.post(t, "/v1/chat/completions", chatBody(model)).wantOK(t, jsonAnswer)
	for _, url := range []string{"http://127.0.0.1:1", "nonsense"} {
		if err := p.Drain(url); !errors.Is(err, ErrNoUpstream) {
			t.Errorf("%s: %v", url, err)
		}
	}
}

// Reloads under live, streaming and batch load cut nothing, and the counts come
// out at zero.
func TestApplyUnderLoad(t *testing.T) {
	var fakes []*fake
	for range 3 {
		f := newFake(t)
		set(&f.serve, func(w http.ResponseWriter, r *http.Request) {
			body, _ := io.ReadAll(r.Body)
			if strings.Contains(string(body), "stream") {
				streamed(sseEvent, sseEvent, sseDone)(w, r)
				return
			}
			answerJSON(w, r)
		})
		fakes = append(fakes, f)
	}
	p := startPool(t, quick(urlsOf(fakes...)...))
	g := newGateway(t, p)
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 100}}
	defer client.CloseIdleConnections()
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	var rounds atomic.Int64
	var load sync.WaitGroup
	for i := range 30 {
		load.Go(func() {
			body, want := chatBody(model), jsonAnswer
			if i%3 == 1 {
				body, want = `{"model":"m","stream":true}`, sseEvent+sseEvent+sseDone
			}
			for ctx.Err() == nil {
				rounds.Add(1)
				if i%3 == 2 {
					slot, err := p.Reserve(model, "")
					if errors.Is(err, ErrBusy) { // live requests take all
						select {
						case <-p.Freed():
						case <-ctx.Done():
						case <-time.After(time.Second): // another goroutine was notified
						}
						continue
					}
					if err != nil {
						t.Errorf("Reserve: %v", err)
						return
					}
					a, err := slot.Send(t.Context(), "/v1/chat/completions", []byte(body))
					slot.Release()
					if err != nil || a.Status != 200 || string(a.Body) != want {
						t.Errorf("Send: %+v, %v", a, err)
						return
					}
					continue
				}
				answer, err := client.Post(g.URL+"/v1/chat/completions", "application/json", strings.NewReader(body))
				if err != nil {
					t.Errorf("a client saw %v", err)
					return
				}
				text, err := io.ReadAll(answer.Body)
				answer.Body.Close()
				if err != nil || answer.StatusCode != 200 || string(text) != want {
					t.Errorf("a client saw %d, %v, %q", answer.StatusCode, err, text)
					return
				}
			}
		})
	}
	for i := range 20 {
		cfg := quick(urlsOf(fakes...)...)
		cfg.Upstreams[i%3].Weight = float64(i + 1)
		cfg.DialTimeout = time.Duration(i%4+1) * time.Second // another transport
		if i%2 == 0 {
			cfg.Upstreams = append(cfg.Upstreams[:i%3], cfg.Upstreams[i%3+1:]...)
		}
		if err := p.Apply(cfg); err != nil {
			t.Fatal(err)
		}
		until(t, "all are up", func() bool { return count(p, StateUp) == len(cfg.Upstreams) || t.Failed() })
		before := rounds.Load()
		until(t, "requests get on", func() bool { return rounds.Load() > before+100 || t.Failed() })
	}
	stop()
	load.Wait()
	wantIdle(t, p)
}

// A removed server's requests finish.
func TestRemovedServerFinishes(t *testing.T) {
	f, h := newFake(t), newFake(t)
	begun, proceed := make(chan struct{}), make(chan struct{})
	set(&f.serve, func(w http.ResponseWriter, r *http.Request) {
		streamed(sseEvent)(w, r)
		close(begun)
		<-proceed
		streamed(sseDone)(w, r)
	})
	p := startPool(t, quick(f.URL))
	g := newGateway(t, p)
	running := make(chan got)
	go func() { running <- g.post(t, "/v1/chat/completions", chatBody(model)) }()
	receive(t, "the stream runs", begun)
	old := find(p.upstreams, f.URL)
	if err := p.Apply(quick(h.URL)); err != nil {
		t.Fatal(err)
	}
	until(t, "the other is up", func() bool { return p.Ready() })
	g.post(t, "/v1/chat/completions", chatBody(model)).wantOK(t, jsonAnswer)
	close(proceed)
	receive(t, "the stream ends", running).wantOK(t, sseEvent+sseDone)
	until(t, "nothing is counted on the old one", func() bool { return old.load.Load() == 0 })
}

// TestManyAtOnce sends thousands of concurrent requests, some of which fail or disconnect: all
// counts must return to zero.
func TestManyAtOnce(t *testing.T) {
	var fakes []*fake
	for range 3 {
		f := newFake(t)
		set(&f.serve, func(w http.ResponseWriter, r *http.Request) {
			body, _ := io.ReadAll(r.Body)
			switch {
			case strings.Contains(string(body), "poison"):
				panic(http.ErrAbortHandler)
			case strings.Contains(string(body), "leave"):
				<-r.Context().Done()
			case strings.Contains(string(body), "die"):
				thenCut(streamed(sseEvent))(w, r)
			default:
				answerJSON(w, r)
			}
		})
		fakes = append(fakes, f)
	}
	p := startPool(t, quick(urlsOf(fakes...)...))
	var recorded atomic.Int64
	x := NewProxy(p, zap.NewNop(), func(context.Context, LiveRequest) { recorded.Add(1) })
	var all sync.WaitGroup
	const n = 2000
	for i := range n {
		all.Go(func() {
			defer func() { _ = recover() }() // a cut
			ctx := t.Context()
			word := []string{"", "", "", "poison", "leave", "die"}[i%6]
			if word == "leave" {
				var cancel context.CancelFunc
				ctx, cancel = context.WithTimeout(ctx, 20*time.Millisecond)
				defer cancel()
			}
			r := httptest.NewRequestWithContext(ctx, "POST", "/v1/chat/completions", strings.NewReader(`{"model":"m","x":"`+word+`"}`))
			w := httptest.NewRecorder()
			x.ServeHTTP(w, r)
			if word == "" && w.Code != 200 {
				t.Errorf("status %d: %s", w.Code, w.Body)
			}
		})
	}
	all.Wait()
	wantIdle(t, p)
	if recorded.Load() != n {
		t.Errorf("%d of %d are recorded", recorded.Load(), n)
	}
}
