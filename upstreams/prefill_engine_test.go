package upstreams

import (
	"context"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"
)

// TestSlowServerIsKnown checks that a server that is three times slower than another is
// known for it after a few requests, with and without its own figures.
func TestSlowServerIsKnown(t *testing.T) {
	const requests = 4 // on each server
	for name, tt := range map[string]struct {
		servers []gpu
		sizes   [requests]int // tokens of the prompts
	}{
		"prompts of one size":                     {[]gpu{{slower: 1}, {slower: 3}}, [requests]int{300, 300, 300, 300}},
		"prompts of several sizes":                {[]gpu{{slower: 1}, {slower: 3}}, [requests]int{100, 1500, 300, 700}},
		"prompts of one size, no metrics":         {[]gpu{{slower: 1, noMetrics: true}, {slower: 3, noMetrics: true}}, [requests]int{300, 300, 300, 300}},
		"prompts of several sizes, no metrics":    {[]gpu{{slower: 1, noMetrics: true}, {slower: 3, noMetrics: true}}, [requests]int{100, 1500, 300, 700}},
		"only the slow one does not tell figures": {[]gpu{{slower: 1}, {slower: 3, noMetrics: true}}, [requests]int{100, 1500, 300, 700}},
	} {
		t.Run(name, func(t *testing.T) {
			onGPUs(t, tt.servers, func(t *testing.T, w *gpus) {
				for server := range w.sims {
					other := w.cfg.Upstreams[1-server].URL
					if err := w.pool.Drain(other); err != nil {
						t.Fatal(err)
					}
					for i, size := range tt.sizes {
						w.send(t, chat(fmt.Sprintf("%d-%d", server, i), size, true))
					}
					if err := w.pool.Undrain(other); err != nil {
						t.Fatal(err)
					}
				}
				const want = float64(time.Second) / 20480
				fast, slow := w.pool.upstreams[0].pace.estimate(), w.pool.upstreams[1].pace.estimate()
				if fast < 0.8*want || fast > 1.25*want {
					t.Errorf("%.0f ns a token on the fast server, want %.0f", fast, want)
				}
				if ratio := slow / fast; ratio < 2.5 || ratio > 3.6 {
					t.Errorf("the slow server takes %.2f times as long (%.0f and %.0f ns a token), want 3", ratio, slow, fast)
				}
			})
		})
	}
}

// TestSpeedOfMixedPrompts checks the estimate while streams overlap whose prompts have
// from 300 to 60,000 tokens, some of them cached.
func TestSpeedOfMixedPrompts(t *testing.T) {
	for name, server := range map[string]gpu{
		"vLLM 0.32":                         {slower: 1},
		"a version without computed tokens": {slower: 1, noComputed: true},
	} {
		t.Run(name, func(t *testing.T) { onGPUs(t, []gpu{server, server}, testMixedPrompts) })
	}
}

func testMixedPrompts(t *testing.T, w *gpus) {
	random := rand.New(rand.NewPCG(1, 2))
	var work sync.WaitGroup
	var estimates []float64
	for i := range 300 {
		time.Sleep(time.Duration(300*random.ExpFloat64()) * time.Millisecond)
		name := fmt.Sprint("own ", i)
		if i%3 == 0 {
			name = fmt.Sprint("common ", i%4)
		}
		body := chat(name, int(300*math.Pow(200, random.Float64()*random.Float64())), true)
		body = strings.Replace(body, `"max_tokens":8`, `"max_tokens":300`, 1)
		work.Go(func() { w.sendOverlapping(t, body) })
		if i < 30 || i%10 > 0 {
			continue
		}
		for _, u := range w.pool.upstreams {
			// The streams that overlap differ between runs, because goroutines run in a
			// different order.
			got := u.pace.estimate()
			if got < 32e3 || got > 75e3 {
				t.Errorf("after %d requests: got %.0f ns a token on %s, want about 48828 to 55000", i, got, u.url)
			}
			estimates = append(estimates, got)
		}
	}
	work.Wait()
	slices.Sort(estimates)
	// 48.8 us and the decoding in each step of 2,048 tokens.
	if got := estimates[len(estimates)/2]; got < 50e3 || got > 54e3 {
		t.Errorf("the median is %.0f ns a token, want 50000 to 54000", got)
	}
	t.Logf("from %.0f to %.0f ns a token, median %.0f", estimates[0], estimates[len(estimates)-1], estimates[len(estimates)/2])
}

// TestServerBecomesSlower checks that what was learned of a server gives way to what
// passes now.
func TestServerBecomesSlower(t *testing.T) {
	var s speed
	const token, step = 50e3, 8e6
	for i := range 20 {
		size := float64(200 + 100*(i%3))
		s.addStream(size, 0, size*token+step, step)
	}
	if got := s.estimate(); got < 0.9*token || got > 1.1*token {
		t.Fatalf("%.0f ns a token, want %.0f", got, token)
	}
	s.addStream(300, 0, 30e9, step) // it waited behind requests that this gateway does not see
	if got := s.estimate(); got > 2*token {
		t.Errorf("%.0f ns a token after one request that waited, want about %.0f", got, token)
	}
	for i := range 6 {
		size := float64(200 + 100*(i%3))
		s.addStream(size, 0, 3*(size*token+step), 3*step)
	}
	if got := s.estimate(); got < 2.2*token || got > 3.6*token {
		t.Errorf("%.0f ns a token on a server that is 3 times slower, want %.0f", got, 3*token)
	}
	for range 3 {
		s.addStream(300, -1, 300*token+step, step) // others were read before it, and it was quicker all the same
	}
	if got := s.estimate(); got > 2*token {
		t.Errorf("%.0f ns a token after streams that were quick beside others, want about %.0f", got, token)
	}
	s.addStream(300, -1, 30e9, step)
	if got := s.estimate(); got > 2*token {
		t.Errorf("%.0f ns a token after a stream that came behind others, want about %.0f", got, token)
	}
}

// TestSpeedBesideOthers checks what a stream shows whose prompt was sent while others were
// pending: it was prefilled after some of these, so its time to first token is between that
// of its own tokens and that of all. It finds an estimate that only such streams change
// that are quicker than expected, and that falls without an end while no prompt is alone.
func TestSpeedBesideOthers(t *testing.T) {
	const token, step = 50e3, 8e6
	for name, tt := range map[string]struct {
		pending, took float64 // tokens; nanoseconds for the prompt's 300 tokens
		want          float64 // nanoseconds per token after some
	}{
		"quicker than its own tokens":    {3000, 300 * token / 4, token / 4},
		"as slow as half of the pending": {3000, 1800 * token, token},
		"slower than all":                {3000, 3 * 3300 * token, 3 * token},
		"pending are not known":          {-1, 3300 * token, token},
	} {
		t.Run(name, func(t *testing.T) {
			var s speed
			for i := range 10 {
				size := float64(200 + 100*(i%3))
				s.addStream(size, 0, size*token+step, step)
			}
			for range 20 {
				s.addStream(300, tt.pending, tt.took+step, step)
			}
			if got := s.estimate(); got < 0.7*tt.want || got > 1.3*tt.want {
				t.Errorf("got %.0f ns a token, want %.0f", got, tt.want)
			}
		})
	}
}

// TestOnlyTheServerIsTimed checks that the time in which a connection is made, and that
// in which a client sends its request, do not count as the server's.
func TestOnlyTheServerIsTimed(t *testing.T) {
	for name, tt := range map[string]struct {
		dial   time.Duration
		buffer int64         // retry_buffer
		client time.Duration // for the second half of a request
	}{
		"connections that take long": {dial: 200 * time.Millisecond},
		"a client that is slow":      {buffer: 64, client: 2 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			onGPUs(t, []gpu{{slower: 1, noMetrics: true}}, func(t *testing.T, w *gpus) {
				pool := newPool(zap.NewNop(), func(ctx context.Context, network, addr string) (net.Conn, error) {
					time.Sleep(tt.dial)
					return w.net.dial(ctx, network, addr)
				})
				w.cfg.RetryBuffer = tt.buffer
				if err := pool.Apply(w.cfg); err != nil {
					t.Fatal(err)
				}
				pool.Start()
				t.Cleanup(pool.Close)
				pass(time.Second)
				w.pool, w.proxy = pool, NewProxy(pool, zap.NewNop(), nil)
				send := func(i int, slow time.Duration) {
					t.Helper()
					body := chat(fmt.Sprint("a", i), 300, true)
					from, to := io.Pipe()
					go func() {
						_, _ = io.WriteString(to, body[:len(body)/2])
						time.Sleep(slow)
						_, _ = io.WriteString(to, body[len(body)/2:])
						to.Close()
					}()
					r := httptest.NewRequestWithContext(t.Context(), http.MethodPost, endpoint, from)
					r.Header.Set("Content-Type", "application/json")
					r.ContentLength = int64(len(body))
					out := httptest.NewRecorder()
					w.proxy.ServeHTTP(out, r)
					if out.Code != http.StatusOK {
						t.Fatalf("status %d: %s", out.Code, out.Body)
					}
					synctest.Wait()
				}
				if tt.client > 0 {
					w.pool.upstreams[0].pace.addStream(300, 0, 300*48828+7.5e6, 7.5e6) // as a quick one
				}
				for i := range 3 {
					send(i, tt.client)
					pool.closeIdle()
				}
				const want = float64(time.Second) / 20480
				if got := w.pool.upstreams[0].pace.estimate(); got < 0.8*want || got > 1.25*want {
					t.Errorf("%.0f ns a token, want %.0f", got, want)
				}
			})
		})
	}
}

// TestUnknownServerIsLikeOthers checks that a server without measurements is taken
// for as quick as the others, as soon as one of these is measured, and when it is added:
// it gets its part of the live requests, and not all.
func TestUnknownServerIsLikeOthers(t *testing.T) {
	onGPUs(t, []gpu{{slower: 1}, {slower: 1}, {slower: 1}}, func(t *testing.T, w *gpus) {
		all := w.pool.upstreams
		for i, perToken := range []float64{30e3, 60e3} {
			all[i].pace.addStream(300, 0, 300*perToken, 1)
			if got := all[2].pace.estimateOrPool(); got < 29e3 || got > 31e3 {
				t.Errorf("%.0f ns a token after %d measurements, want the first, 30000, until the next sample", got, i+1)
			}
		}
		pass(2 * telemetrySample)
		if got := all[2].pace.estimateOrPool(); got < 44e3 || got > 46e3 || all[2].pace.estimate() != 0 {
			t.Errorf("%.0f ns a token (known: %.0f), want 45000", got, all[2].pace.estimate())
		}
		if got := all[0].pace.estimateOrPool(); got > 31e3 {
			t.Errorf("%.0f ns a token where it is known, want 30000", got)
		}
		all[2].pace.beginLive(all[2].age(), 1000)
		s := w.pool.now.Load()
		for range 20 {
			if c := s.choose(s.models[model], &Query{Class: Live, Model: model}, nil); c.URL == "http://2" {
				t.Fatal("a live request goes to the server that has 1000 tokens pending")
			}
		}
		all[2].pace.endLive(1000)
		w.cfg.Upstreams = append(w.cfg.Upstreams, UpstreamConfig{URL: "http://3"})
		if err := w.pool.Apply(w.cfg); err != nil {
			t.Fatal(err)
		}
		if got := w.pool.upstreams[3].pace.estimateOrPool(); got < 44e3 || got > 46e3 {
			t.Errorf("%.0f ns a token on a server that was added, want 45000", got)
		}
	})
}

// An estimate far below that of the other servers is not believed, one above it is.
func TestEstimateBesideThePool(t *testing.T) {
	for own, want := range map[float64]float64{0: 50e3, 1e3: 25e3, 30e3: 30e3, 45e3: 50e3, 60e3: 50e3, 200e3: 200e3} {
		s := speed{pool: new(poolSpeed)}
		s.perToken.store(own)
		s.pool.begin(50e3)
		if got := s.estimateOrPool(); got != want {
			t.Errorf("%.0f ns a token beside a pool of 50000: got %.0f, want %.0f", own, got, want)
		}
	}
}
