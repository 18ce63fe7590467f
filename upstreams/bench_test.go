package upstreams

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"go.uber.org/zap"
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
	body := `{"model":"m","messages":[{"role":"user","content":"` + strings.Repeat("word ", 200) + `"}],"max_tokens":100}`
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
	srv := httptest.NewServer(NewProxy(benchServer(b, answer), zap.NewNop(), func(LiveRequest) {}))
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
