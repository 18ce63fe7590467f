package vllmsim_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strconv"
	"sync/atomic"
	"testing"

	"github.com/tidegate/tidegate/internal/vllmsim"
)

// gsm8kBody has the size of a line of a common batch.
func gsm8kBody(i int, stream bool) []byte {
	return fmt.Appendf(nil, `{"model":"sim","messages":[{"role":"system","content":"You are a careful tutor. Show the steps and end with the number."},{"role":"user","content":"Question %d: a ferry makes four crossings a day and carries 120 people on each of them. How many people does it carry in three weeks, if it rests on Sundays?"}],"max_tokens":24,"temperature":0,"stream":%t}`, i, stream)
}

type discard struct {
	h      http.Header
	n      int64
	status int
}

func (d *discard) Header() http.Header         { return d.h }
func (d *discard) WriteHeader(status int)      { d.status = status }
func (d *discard) Write(p []byte) (int, error) { d.n += int64(len(p)); return len(p), nil }
func (d *discard) Flush()                      {}

func BenchmarkHandler(b *testing.B) {
	for _, stream := range []bool{false, true} {
		b.Run("stream="+strconv.FormatBool(stream), func(b *testing.B) {
			s := vllmsim.New(vllmsim.Config{})
			defer s.Close()
			b.ReportAllocs()
			b.RunParallel(func(pb *testing.PB) {
				body := gsm8kBody(0, stream)
				w := &discard{h: http.Header{}}
				for pb.Next() {
					r := httptest.NewRequest(http.MethodPost, "/v1/chat/completions", bytes.NewReader(body))
					r.Header.Set("Content-Type", "application/json")
					s.ServeHTTP(w, r)
				}
			})
		})
	}
}

// BenchmarkLoopback counts requests a second with a client on the same
// machine, each request another one.
func BenchmarkLoopback(b *testing.B) {
	for _, stream := range []bool{false, true} {
		b.Run("stream="+strconv.FormatBool(stream), func(b *testing.B) {
			s := vllmsim.New(vllmsim.Config{})
			srv := httptest.NewServer(s)
			defer srv.Close()
			transport := &http.Transport{MaxIdleConnsPerHost: 64, DisableCompression: true}
			defer transport.CloseIdleConnections()
			client := &http.Client{Transport: transport}
			var next atomic.Int64
			b.ReportAllocs()
			b.SetParallelism(16)
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					resp, err := client.Post(srv.URL+"/v1/chat/completions", "application/json", bytes.NewReader(gsm8kBody(int(next.Add(1)), stream)))
					if err != nil {
						b.Error(err)
						return
					}
					_, err = io.Copy(io.Discard, resp.Body)
					if err = errors.Join(err, resp.Body.Close()); err != nil {
						b.Error(err)
						return
					}
				}
			})
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "req/s")
		})
	}
}

// BenchmarkRawConn measures requests per second of a client with minimal cost, so that the
// server and the kernel dominate.
func BenchmarkRawConn(b *testing.B) {
	s := vllmsim.New(vllmsim.Config{})
	srv := httptest.NewServer(s)
	defer srv.Close()
	body := gsm8kBody(0, false)
	request := fmt.Appendf(nil, "POST /v1/chat/completions HTTP/1.1\r\nHost: sim\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s", len(body), body)
	b.SetParallelism(16)
	b.RunParallel(func(pb *testing.PB) {
		conn, err := net.Dial("tcp", srv.Listener.Addr().String())
		if err != nil {
			b.Error(err)
			return
		}
		defer func() { _ = conn.Close() }()
		buf := make([]byte, 64<<10)
		length := 0
		for pb.Next() {
			if _, err := conn.Write(request); err != nil {
				b.Error(err)
				return
			}
			for got := 0; length == 0 || got < length; {
				n, err := conn.Read(buf[got:])
				if err != nil {
					b.Error(err)
					return
				}
				got += n
				if bytes.HasSuffix(buf[:got], []byte("}")) { // all answers are the same
					length = got
				}
			}
		}
	})
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "req/s")
}
