package upstreams

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// Requests on simulated GPUs, in tokens.
const (
	livePrompt, liveTokens = 300, 100
	linePrompt, lineTokens = 200, 200
)

// Live requests come this many times as often in the first burstLength of each
// burstPeriod.
const (
	burstFactor = 4
	burstLength = 2 * time.Second
	burstPeriod = 10 * time.Second
)

// liveFirst is a measurement of live requests on simulated GPUs, for which nothing is
// configured. It runs in a time of its own: the speed of the machine does not matter.
type liveFirst struct {
	servers int
	rate    float64       // live requests a second and server
	lines   bool          // batch lines through the pool
	flood   int           // requests for each server that do not go through the pool
	bursts  bool          // live requests come in bursts, and only these count
	settle  time.Duration // until it is measured
	length  time.Duration // of what is measured
}

// liveFirstResult has the measurements of clients.
type liveFirstResult struct {
	ttft, itl []time.Duration
	tokens    float64  // of lines, per second
	history   []string // of the servers, for diagnosis
}

// quantile returns the part q of d; zero if there is nothing.
func quantile(d []time.Duration, q float64) time.Duration {
	if len(d) == 0 {
		return 0
	}
	slices.Sort(d)
	return d[min(len(d)-1, int(q*float64(len(d))))]
}

func (r *liveFirstResult) String() string {
	return fmt.Sprintf("TTFT p50 %v p99 %v, ITL p50 %v p99 %v, %d requests; %.0f tokens/s of lines",
		quantile(r.ttft, 0.5), quantile(r.ttft, 0.99), quantile(r.itl, 0.5), quantile(r.itl, 0.99), len(r.ttft), r.tokens)
}

// liveFirstRatio compares what two sides got.
type liveFirstRatio struct {
	ttft50, ttft99, itl50 float64
	itl99                 time.Duration // more
	share                 float64       // of a flood's tokens
}

func (r *liveFirstResult) over(off, flood *liveFirstResult) liveFirstRatio {
	times := func(of func(*liveFirstResult) []time.Duration, q float64) float64 {
		return float64(quantile(of(r), q)) / float64(quantile(of(off), q))
	}
	ttft, itl := func(r *liveFirstResult) []time.Duration { return r.ttft }, func(r *liveFirstResult) []time.Duration { return r.itl }
	return liveFirstRatio{
		ttft50: times(ttft, 0.5), ttft99: times(ttft, 0.99), itl50: times(itl, 0.5),
		itl99: quantile(r.itl, 0.99) - quantile(off.itl, 0.99), share: r.tokens / flood.tokens,
	}
}

func (r liveFirstRatio) String() string {
	return fmt.Sprintf("TTFT p50 × %.2f p99 × %.2f, ITL p50 × %.2f p99 %+.1f ms, at %.2f of a flood's tokens",
		r.ttft50, r.ttft99, r.itl50, r.itl99.Seconds()*1e3, r.share)
}

// ofTokens is a chat of about so many tokens, which begins as no other does.
func ofTokens(name string, tokens, generate int, stream bool) string {
	head := fmt.Sprintf(`{"model":"m","stream":%t,"max_tokens":%d,"messages":[{"role":"user","content":"%s `, stream, generate, name)
	tail := fmt.Sprintf(` [[sim:tokens=%d]]"}]}`, generate)
	return head + strings.Repeat("x", 4*tokens-len(head)-len(tail)) + tail
}

// stopwatch is a client that notes when it gets tokens.
type stopwatch struct {
	header http.Header
	code   int
	tokens []time.Time
}

func (s *stopwatch) Header() http.Header  { return s.header }
func (s *stopwatch) WriteHeader(code int) { s.code = code }
func (s *stopwatch) Flush()               {}
func (s *stopwatch) Write(b []byte) (int, error) {
	if bytes.Contains(b, []byte(`"content":"`)) {
		s.tokens = append(s.tokens, time.Now())
	}
	return len(b), nil
}

// run measures.
func (l liveFirst) run(t *testing.T) *liveFirstResult {
	t.Helper()
	result := new(liveFirstResult)
	onGPUs(t, slices.Repeat([]gpu{{slower: 1}}, l.servers), func(t *testing.T, w *gpus) {
		w.cfg.BatchPrice = -1
		if err := w.pool.Apply(w.cfg); err != nil {
			t.Fatal(err)
		}
		ctx, quit := context.WithCancel(t.Context())
		r := &liveFirstRun{liveFirst: l, gpus: w, ctx: ctx, began: time.Now(), result: result, failed: t.Errorf}
		if l.lines {
			r.work.Go(r.sendLines)
		}
		client := &http.Client{Transport: &http.Transport{DialContext: w.net.dial, MaxIdleConnsPerHost: 1000}}
		for i := range l.servers * l.flood {
			r.work.Go(func() { r.sendFlood(client, i) })
		}
		r.work.Go(r.sendLive)
		r.work.Go(r.watch)
		ended := func() (n int64) {
			for _, s := range w.sims {
				n += s.Stats().Finished
			}
			return n
		}
		time.Sleep(time.Until(r.began.Add(l.settle)))
		before := ended()
		time.Sleep(l.length)
		n := ended() - before
		r.mu.Lock()
		result.tokens = lineTokens * float64(n-r.ended) / l.length.Seconds()
		r.mu.Unlock()
		time.Sleep(2 * time.Second) // the last live requests end
		quit()
		r.work.Wait()
		client.CloseIdleConnections()
	})
	return result
}

// liveFirstRun is a running measurement.
type liveFirstRun struct {
	liveFirst
	*gpus
	ctx    context.Context
	began  time.Time
	work   sync.WaitGroup
	failed func(format string, args ...any)
	// linePrompt is the prompt of a line in tokens; 0: as the constant says.
	linePrompt int

	mu     sync.Mutex
	ended  int64            // guarded by mu; live requests while it was measured
	result *liveFirstResult // guarded by mu
}

// sendLines keeps all slots taken.
func (r *liveFirstRun) sendLines() {
	for k := 0; r.ctx.Err() == nil; k++ {
		slot, err := r.pool.Reserve(model, "")
		if err != nil {
			select {
			case <-r.ctx.Done():
			case <-r.pool.Freed():
			}
			continue
		}
		r.work.Go(func() {
			defer slot.Release()
			answer, err := slot.Send(r.ctx, endpoint, []byte(ofTokens(fmt.Sprint("line ", k), cmp.Or(r.linePrompt, linePrompt), lineTokens, false)))
			if errors.Is(err, errWithdrawn) {
				return // the batch engine sends it again
			}
			if r.ctx.Err() == nil && (err != nil || answer.Status != http.StatusOK) {
				r.failed("a line got %+v, %v", answer, err)
			}
		})
	}
}

// sendFlood is one client that knows of no gateway. Clients begin one after the other.
func (r *liveFirstRun) sendFlood(client *http.Client, i int) {
	time.Sleep(time.Duration(i) * 2 * time.Second / time.Duration(r.servers*r.flood))
	for k := 0; r.ctx.Err() == nil; k++ {
		body := ofTokens(fmt.Sprint("flood ", i, " ", k), linePrompt, lineTokens, false)
		request, err := http.NewRequestWithContext(r.ctx, http.MethodPost, fmt.Sprintf("http://%d%s", i%r.servers, endpoint), strings.NewReader(body))
		if err != nil {
			panic(err)
		}
		request.Header.Set("Content-Type", "application/json")
		answer, err := client.Do(request)
		if r.ctx.Err() != nil {
			return
		}
		if err != nil || answer.StatusCode != http.StatusOK {
			r.failed("the flood got %v, %v", answer, err)
			return
		}
		_, _ = io.Copy(io.Discard, answer.Body)
		answer.Body.Close()
	}
}

// sendLive sends streams at random moments, which are the same in every run.
func (r *liveFirstRun) sendLive() {
	random := rand.New(rand.NewPCG(5, 6))
	for k := 0; ; k++ {
		rate := r.rate * float64(r.servers)
		if r.bursts && r.inBurst(time.Now()) {
			rate *= burstFactor
		}
		select {
		case <-r.ctx.Done():
			return
		case <-time.After(time.Duration(float64(time.Second) / rate * random.ExpFloat64())):
		}
		r.work.Go(func() { r.sendStream(k) })
	}
}

func (r *liveFirstRun) inBurst(at time.Time) bool { return at.Sub(r.began)%burstPeriod < burstLength }

func (r *liveFirstRun) sendStream(k int) {
	request := httptest.NewRequestWithContext(r.ctx, http.MethodPost, endpoint, strings.NewReader(ofTokens(fmt.Sprint("live ", k), livePrompt, liveTokens, true)))
	request.Header.Set("Content-Type", "application/json")
	client := &stopwatch{header: http.Header{}}
	began := time.Now()
	func() {
		defer func() { _ = recover() }() // the end of the test cuts it off
		r.proxy.ServeHTTP(client, request)
	}()
	from, to := r.began.Add(r.settle), r.began.Add(r.settle+r.length)
	if r.ctx.Err() != nil {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if now := time.Now(); !now.Before(from) && now.Before(to) {
		r.ended++
	}
	if began.Before(from) || began.After(to) || r.bursts && !r.inBurst(began) {
		return
	}
	if client.code > http.StatusOK || len(client.tokens) != liveTokens {
		r.failed("a live request got status %d and %d tokens", client.code, len(client.tokens))
		return
	}
	r.result.ttft = append(r.result.ttft, client.tokens[0].Sub(began))
	for i, at := range client.tokens[1:] {
		r.result.itl = append(r.result.itl, at.Sub(client.tokens[i]))
	}
}

// watch notes every 5 s what becomes of the servers.
func (r *liveFirstRun) watch() {
	for {
		select {
		case <-r.ctx.Done():
			return
		case now := <-time.After(5 * time.Second):
			line := fmt.Sprintf("%3.0f s:", now.Sub(r.began).Seconds())
			for _, s := range r.pool.Status() {
				line += fmt.Sprintf(" | %s %d (%s) %d live %d lines %.0f ms", s.Placement, s.Limit, s.LimitReason, s.LiveInFlight, s.BatchInFlight, 1e3*s.PendingPrefill)
			}
			r.mu.Lock()
			r.result.history = append(r.result.history, line)
			r.mu.Unlock()
		}
	}
}
