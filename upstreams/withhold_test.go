package upstreams

import (
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"
)

// shop is a model server in a bubble whose times are known: live streams take
// longer while lines of batches run on it, and the longer the more of them do.
type shop struct {
	ttft, itl         time.Duration // without batch
	moreTTFT, moreITL time.Duration // with it
	line              time.Duration // a line takes
	lines             atomic.Int64  // running
	ran               atomic.Int64  // lines
	mu                sync.Mutex
	idle              time.Time     // guarded by mu; since when no line runs, zero while some do
	longest           time.Duration // guarded by mu; without a line
}

// allLines is the minimum number of lines that run on a shop without a budget.
const allLines = 6

func (s *shop) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	switch r.URL.Path {
	case "/health":
		return
	case "/v1/models":
		w.Header().Set("Content-Type", "application/json")
		io.WriteString(w, `{"object":"list","data":[{"id":"m","object":"model"}]}`)
		return
	case "/v1/chat/completions":
	default:
		http.NotFound(w, r)
		return
	}
	body, _ := io.ReadAll(r.Body)
	if !strings.Contains(string(body), `"stream":true`) {
		s.batch(w)
		return
	}
	w.Header().Set("Content-Type", "text/event-stream")
	w.(http.Flusher).Flush()
	wait := func(d, more time.Duration) {
		d += more * time.Duration(min(s.lines.Load(), allLines)) / allLines
		time.Sleep(d + time.Duration(0.1*float64(d)*rand.ExpFloat64()))
	}
	wait(s.ttft, s.moreTTFT)
	for range 15 {
		io.WriteString(w, sseEvent)
		w.(http.Flusher).Flush()
		wait(s.itl, s.moreITL)
	}
	io.WriteString(w, sseDone)
}

func (s *shop) batch(w http.ResponseWriter) {
	s.mu.Lock()
	if s.lines.Add(1) == 1 && !s.idle.IsZero() {
		s.longest = max(s.longest, time.Since(s.idle))
	}
	s.mu.Unlock()
	time.Sleep(s.line)
	s.mu.Lock()
	if s.lines.Add(-1) == 0 {
		s.idle = time.Now()
	}
	s.mu.Unlock()
	s.ran.Add(1)
	w.Header().Set("Content-Type", "application/json")
	io.WriteString(w, jsonAnswer)
}

// bubble is a pool with shops, a flood of batch lines and live streams, in a bubble.
type bubble struct {
	pool *Pool
	quit chan struct{}
	work sync.WaitGroup
}

// openBubble runs until close. Live streams come every gap on average, none if 0.
func openBubble(t *testing.T, cfg Config, gap time.Duration, shops ...*shop) *bubble {
	t.Helper()
	n := new(network)
	for i, s := range shops {
		host := fmt.Sprintf("s%d:1", i)
		n.serve(t, host, s)
		cfg.Upstreams = append(cfg.Upstreams, UpstreamConfig{URL: "http://" + host, MaxNumSeqs: 12})
	}
	b := &bubble{pool: newPool(zap.NewNop(), n.dial), quit: make(chan struct{})}
	if err := b.pool.Apply(cfg); err != nil {
		t.Fatal(err)
	}
	b.pool.Start()
	time.Sleep(time.Second)
	synctest.Wait()
	b.work.Go(b.flood)
	if gap > 0 {
		proxy := NewProxy(b.pool, zap.NewNop(), nil)
		b.work.Go(func() { b.live(proxy, gap) })
	}
	return b
}

func (b *bubble) close() {
	close(b.quit)
	b.work.Wait()
	b.pool.Close()
}

// over reports whether the bubble is closed.
func (b *bubble) over() bool {
	select {
	case <-b.quit:
		return true
	default:
		return false
	}
}

// flood keeps every slot busy.
func (b *bubble) flood() {
	look := time.NewTicker(50 * time.Millisecond)
	defer look.Stop()
	for !b.over() {
		slot, err := b.pool.Reserve(model, "")
		if err != nil {
			select {
			case <-b.quit:
			case <-b.pool.Freed():
			case <-look.C:
			}
			continue
		}
		b.work.Go(func() {
			defer slot.Release()
			_, _ = slot.Send(b.pool.ctx, "/v1/chat/completions", []byte(chatBody(model)))
		})
	}
}

func (b *bubble) live(proxy *Proxy, gap time.Duration) {
	for {
		select {
		case <-b.quit:
			return
		case <-time.After(time.Duration(float64(gap) * rand.ExpFloat64())):
		}
		b.work.Go(func() {
			body := `{"model":"m","stream":true,"messages":[{"role":"user","content":"` + strings.Repeat("x", rand.IntN(200)) + `"}]}`
			r := httptest.NewRequestWithContext(b.pool.ctx, http.MethodPost, "/v1/chat/completions", strings.NewReader(body))
			r.Header.Set("Content-Type", "application/json")
			proxy.ServeHTTP(httptest.NewRecorder(), r)
		})
	}
}

func near(got, want, within float64) bool { return math.Abs(got-want) <= within }

// A reload turns the measurement of the price on beside live requests and lines: batch is
// withheld from the server now and then. withhold_long_test.go has what is measured; this
// run is short enough for the race detector.
func TestPriceOnByReload(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &shop{ttft: 100 * time.Millisecond, itl: 10 * time.Millisecond, line: time.Second}
		b := openBubble(t, Config{BatchPrice: -1}, 300*time.Millisecond, s)
		defer b.close()
		time.Sleep(10 * time.Second)
		cfg := Config{Upstreams: []UpstreamConfig{{URL: "http://s0:1", MaxNumSeqs: 8}}, BatchPrice: 0.1}
		if err := b.pool.Apply(cfg); err != nil {
			t.Fatal(err)
		}
		time.Sleep(3 * time.Minute)
		if p := b.pool.Prices(); len(p) != 1 || p[0].Windows == 0 || p[0].TTFT.SamplesWithout == 0 {
			t.Errorf("got %+v, want a window without batch, and live requests in it", p)
		}
	})
}

func TestBudgetThrottle(t *testing.T) {
	for _, c := range []struct {
		name        string
		part, spent float64
		significant bool
		want        float64
	}{
		{"within", 1, 0.9, true, 1},
		{"far below", 1, 0.1, true, 1},
		{"above", 1, 1.25, true, 0.8},
		{"a little above", 1, 1.01, true, 0.9},
		{"far above", 1, 10, true, 0.5},
		{"above, perhaps by chance", 1, 10, false, 1},
		{"the least", 0.12, 10, true, 0.1},
		{"returned", 0.5, 0.5, true, 0.55},
		{"not all at once", 0.95, 0, false, 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := (BudgetConfig{Part: 0.1}).throttle(c.part, c.spent, c.significant); !near(got, c.want, 1e-9) {
				t.Errorf("got %v, want %v", got, c.want)
			}
		})
	}
}

// Gateways withhold batch from a server at the same time, at times that have no
// period.
func TestWindowStarts(t *testing.T) {
	period := withholdPeriod(DefaultBatchPrice)
	if period != 256*time.Second {
		t.Errorf("period: got %s, want 256s", period)
	}
	var one, other withholder
	one.cost, other.cost = 4*time.Second, 20*time.Second // its lines take longer
	if s := other.stride(DefaultBatchPrice, period); s != 4 {
		t.Errorf("windows of 20 s: got one in %d turns, want 4", s)
	}
	starts := make(map[time.Time]bool)
	var offsets []float64
	now := time.Unix(1_800_000_000, 0)
	for at := now; at.Before(now.Add(1000 * period)); {
		turn, start := one.next("http://a", at, DefaultBatchPrice, period)
		one.turn, at = turn, start.Add(time.Second)
		starts[start] = true
		offsets = append(offsets, float64(start.UnixNano()%int64(period))/float64(period))
	}
	if len(starts) < 950 {
		t.Errorf("got %d windows in 1000 turns", len(starts))
	}
	shared, all := 0, 0
	for at := now; at.Before(now.Add(1000 * period)); {
		turn, start := other.next("http://a", at, DefaultBatchPrice, period)
		other.turn, at = turn, start.Add(time.Second)
		all++
		if starts[start] {
			shared++
		}
	}
	if all < 200 || shared < all-5 {
		t.Errorf("got %d of %d windows of the rarer one at the same time", shared, all)
	}
	mean := 0.0
	for _, o := range offsets {
		mean += o / float64(len(offsets))
	}
	if !near(mean, 0.5, 0.05) {
		t.Errorf("windows begin at %.2f of their turn on average, want 0.5", mean)
	}
}
