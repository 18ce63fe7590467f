package vllmsim_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strconv"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/tidegate/tidegate/internal/vllmsim"
)

// processorTime returns the processor time of this process.
func processorTime(b *testing.B) time.Duration {
	b.Helper()
	var used syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &used); err != nil {
		b.Fatal(err)
	}
	return time.Duration(used.Utime.Nano() + used.Stime.Nano())
}

// BenchmarkEngines has eight engines answer 100 requests a second together, of
// 300 prompt tokens and 100 generated ones each, over loopback. It reports the
// processor time of servers and clients together, as a part of one core, and how
// much time the engines gave up for being too late. Run it with -benchtime 1000x:
// ten seconds.
func BenchmarkEngines(b *testing.B) {
	for _, stream := range []bool{false, true} {
		b.Run("stream="+strconv.FormatBool(stream), func(b *testing.B) {
			const engines = 8
			var urls []string
			var sims []*vllmsim.Server
			for range engines {
				s := vllmsim.New(gpu(func(c *vllmsim.Config) { c.MetricsLag = 0 }))
				defer s.Close()
				srv := httptest.NewServer(s)
				defer srv.Close()
				sims, urls = append(sims, s), append(urls, srv.URL)
			}
			transport := &http.Transport{MaxIdleConnsPerHost: 256, DisableCompression: true}
			defer transport.CloseIdleConnections()
			client := &http.Client{Transport: transport}
			var clients sync.WaitGroup
			tick := time.NewTicker(10 * time.Millisecond)
			defer tick.Stop()
			before, begin := processorTime(b), time.Now()
			for i := range b.N {
				<-tick.C
				clients.Go(func() {
					body := ofTokens('a', 300, 100)
					body = fmt.Sprintf(`{"user":"%06d","stream":%t,%s`, i, stream, body[1:])
					resp, err := client.Post(urls[i%engines]+chatPath, "application/json", bytes.NewReader([]byte(body)))
					if err != nil {
						b.Error(err)
						return
					}
					_, err = io.Copy(io.Discard, resp.Body)
					if err = errors.Join(err, resp.Body.Close()); err != nil {
						b.Error(err)
					}
				})
			}
			clients.Wait()
			wall := time.Since(begin)
			b.ReportMetric(float64(processorTime(b)-before)/float64(wall), "cores")
			b.ReportMetric(float64(b.N)/wall.Seconds(), "req/s")
			lost := 0.0
			for _, s := range sims {
				lost += s.Stats().Engine.Lost
			}
			b.ReportMetric(lost, "s-lost")
		})
	}
}
