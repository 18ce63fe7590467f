package upstreams

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/zap"

	"github.com/tidegate/tidegate/internal/openai"
)

// The benchmarks send requests through a proxy to a trivial server, over
// loopback and all in this process: the difference to BenchmarkDirect is what
// the proxy costs.

func benchServer(b *testing.B, answer http.HandlerFunc) *Pool {
	b.Helper()
	f := makeFake()
	set(&f.serve, answer)
	f.Server = httptest.NewServer(f)
	b.Cleanup(f.Close)
	p := NewPool(zap.NewNop())
	if err := p.Apply(calm(f.URL)); err != nil {
		b.Fatal(err)
	}
	p.Start()
	b.Cleanup(p.Close)
	for !p.Ready() {
		time.Sleep(time.Millisecond)
	}
	return p
}

// drive sends requests over as many connections as there are processors.
func drive(b *testing.B, addr string) {
	b.Helper()
	driveBody(b, addr, `{"model":"m","messages":[{"role":"user","content":"`+strings.Repeat("word ", 200)+`"}],"max_tokens":100}`)
}

func driveBody(b *testing.B, addr, body string) {
	b.Helper()
	request := fmt.Sprintf("POST /v1/chat/completions HTTP/1.1\r\nHost: %s\r\nContent-Type: application/json\r\nUser-Agent: OpenAI/Python 2.1.0\r\nAccept: application/json\r\nAuthorization: Bearer sk-x\r\nContent-Length: %d\r\n\r\n%s", addr, len(body), body)
	b.ReportAllocs()
	b.SetParallelism(8)
	b.RunParallel(func(pb *testing.PB) {
		conn, err := net.Dial("tcp", addr)
		if err != nil {
			b.Error(err)
			return
		}
		defer conn.Close()
		in := bufio.NewReader(conn)
		for pb.Next() {
			if _, err := io.WriteString(conn, request); err != nil {
				b.Error(err)
				return
			}
			answer, err := http.ReadResponse(in, nil)
			if err != nil {
				b.Error(err)
				return
			}
			if _, err := io.Copy(io.Discard, answer.Body); err != nil || answer.StatusCode != 200 {
				b.Errorf("status %d, %v", answer.StatusCode, err)
				return
			}
		}
	})
}

func benchLive(b *testing.B, answer http.HandlerFunc) {
	srv := httptest.NewServer(NewProxy(benchServer(b, answer), zap.NewNop(), func(context.Context, LiveRequest) {}))
	b.Cleanup(srv.Close)
	drive(b, srv.Listener.Addr().String())
}

func BenchmarkDirectJSON(b *testing.B) {
	srv := httptest.NewServer(http.HandlerFunc(answerJSON))
	b.Cleanup(srv.Close)
	drive(b, srv.Listener.Addr().String())
}

func BenchmarkLiveJSON(b *testing.B) { benchLive(b, answerJSON) }

// events is a stream of 50 events, each flushed.
var events = func() http.HandlerFunc {
	var parts []string
	for range 50 {
		parts = append(parts, sseEvent)
	}
	return streamed(append(parts, sseUsage, sseDone)...)
}()

func BenchmarkDirectSSE(b *testing.B) {
	srv := httptest.NewServer(events)
	b.Cleanup(srv.Close)
	drive(b, srv.Listener.Addr().String())
}

func BenchmarkLiveSSE(b *testing.B) { benchLive(b, events) }

// BenchmarkHandler is the proxy without a server in front of it.
func BenchmarkHandler(b *testing.B) {
	x := NewProxy(benchServer(b, answerJSON), zap.NewNop(), nil)
	body := chatBody(model)
	b.ReportAllocs()
	for b.Loop() {
		r := httptest.NewRequest("POST", "/v1/chat/completions", strings.NewReader(body))
		w := httptest.NewRecorder()
		x.ServeHTTP(w, r)
		if w.Code != 200 {
			b.Fatal(w.Body)
		}
	}
}

// BenchmarkPrompt measures the cost of counting a request's prompt tokens.
func BenchmarkPrompt(b *testing.B) {
	p := NewPool(zap.NewNop())
	if err := p.Apply(Config{Upstreams: []UpstreamConfig{{URL: "http://s"}}}); err != nil {
		b.Fatal(err)
	}
	p.mu.Lock()
	p.upstreams[0].state, p.upstreams[0].models = StateUp, []openai.Model{{ID: model}}
	p.publish()
	p.mu.Unlock()
	record := p.now.Load().record(model)
	usage := openai.Usage{InputTokens: 250, OutputTokens: 100, TotalTokens: 350}
	for _, stream := range []bool{false, true} {
		b.Run(fmt.Sprintf("stream=%t", stream), func(b *testing.B) {
			interval := time.Duration(0)
			if stream {
				interval = 10 * time.Millisecond
			}
			b.ReportAllocs()
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					a := attempt{up: p.upstreams[0], pool: p, class: Live, begun: time.Now()}
					a.model, a.whole = model, true
					a.setPrompt(record, 1000, stream, nil)
					a.prompt.finishPrefill(&a)
					a.answered(usage, true, interval)
				}
			})
		})
	}
}

// BenchmarkSeat measures the cost of the admission of a live request: "choice" only chooses a
// server.
func BenchmarkSeat(b *testing.B) {
	for _, test := range []struct {
		name string
		seqs int
		seat func(p *Pool, t *ticket) *Candidate
	}{
		{"choice", 0, func(p *Pool, t *ticket) *Candidate {
			s := p.now.Load()
			c := s.choose(s.models[model], t.query, nil)
			c.begin()
			return c
		}},
		{"unlimited", 0, admitted},
		{"limited", 256, admitted},
	} {
		b.Run(test.name, func(b *testing.B) {
			p := NewPool(zap.NewNop())
			cfg := Config{}
			for i := range 4 {
				cfg.Upstreams = append(cfg.Upstreams, UpstreamConfig{URL: fmt.Sprintf("http://s%d", i), MaxNumSeqs: test.seqs})
			}
			if err := p.Apply(cfg); err != nil {
				b.Fatal(err)
			}
			p.mu.Lock()
			for _, u := range p.upstreams {
				u.state, u.models = StateUp, []openai.Model{{ID: model}}
			}
			p.publish()
			p.mu.Unlock()
			b.ReportAllocs()
			b.RunParallel(func(pb *testing.PB) {
				t := &ticket{query: &Query{Model: model}, whole: true}
				for pb.Next() {
					p.endClass(test.seat(p, t).upstream, Live)
				}
			})
		})
	}
}

func admitted(p *Pool, t *ticket) *Candidate {
	c, _ := p.admit(p.now.Load(), t)
	return c
}

// BenchmarkQueue measures the cost of a slot for which many requests wait.
func BenchmarkQueue(b *testing.B) {
	p := NewPool(zap.NewNop())
	if err := p.Apply(Config{Upstreams: []UpstreamConfig{{URL: "http://s", MaxNumSeqs: 4}}}); err != nil {
		b.Fatal(err)
	}
	p.mu.Lock()
	p.upstreams[0].state, p.upstreams[0].models = StateUp, []openai.Model{{ID: model}}
	p.publish()
	p.mu.Unlock()
	var keys atomic.Int64
	b.ReportAllocs()
	b.SetParallelism(256)
	b.RunParallel(func(pb *testing.PB) {
		key := fmt.Sprint(keys.Add(1) % 16)
		for pb.Next() {
			s := p.now.Load()
			t := &ticket{query: &Query{Model: model}, key: key, whole: true}
			c, full := p.admit(s, t)
			if full {
				var err error
				if c, err = p.wait(b.Context(), t, s.models[model].record); err != nil {
					b.Error(err)
					return
				}
			}
			p.endClass(c.upstream, Live)
		}
	})
}
