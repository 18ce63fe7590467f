package upstreams

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"

	"github.com/tidegate/tidegate/internal/vllmsim"
	vllmengine "github.com/tidegate/tidegate/internal/vllmsim/engine"
)

// gpus are simulated GPUs in a network and a time of their own, and a pool of them.
type gpus struct {
	net   *network
	sims  []*vllmsim.Server
	cfg   Config
	pool  *Pool
	proxy *Proxy
}

// gpu is a server of gpus.
type gpu struct {
	slower     int  // times an H100
	noMetrics  bool // it has no GET /metrics
	noCached   bool // its answers do not tell how many tokens were cached
	noComputed bool // its metrics do not have the tokens that were computed in prefill
}

// onGPUs runs test with a pool of servers http://0, http://1 and so on.
func onGPUs(t *testing.T, servers []gpu, test func(t *testing.T, w *gpus)) {
	synctest.Test(t, func(t *testing.T) {
		w := &gpus{net: &network{}}
		for i, s := range servers {
			spec := vllmengine.Specs["h100-8b"]
			for _, d := range []*time.Duration{&spec.StepBase, &spec.PerDecode, &spec.PerContextToken} {
				*d *= time.Duration(s.slower)
			}
			spec.PrefillRate /= s.slower
			sim := vllmsim.New(vllmsim.Config{Models: []string{model}, Engine: &spec})
			t.Cleanup(sim.Close)
			w.sims = append(w.sims, sim)
			w.net.serve(t, fmt.Sprintf("%d:80", i), s.wrap(sim))
			w.cfg.Upstreams = append(w.cfg.Upstreams, UpstreamConfig{URL: fmt.Sprintf("http://%d", i)})
		}
		w.pool, w.proxy = w.gateway(t)
		test(t, w)
	})
}

// gateway starts a pool of the servers.
func (w *gpus) gateway(t *testing.T) (*Pool, *Proxy) {
	t.Helper()
	p := newPool(zap.NewNop(), w.net.dial)
	if err := p.Apply(w.cfg); err != nil {
		t.Fatal(err)
	}
	p.Start()
	t.Cleanup(p.Close)
	synctest.Wait()
	if !p.Ready() || !p.discoveryComplete() {
		t.Fatalf("not up at once: %+v", p.Status())
	}
	return p, NewProxy(p, zap.NewNop(), nil)
}

// wrap leaves out what a server does not tell.
func (s gpu) wrap(sim http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case s.noMetrics && r.URL.Path == "/metrics":
			http.NotFound(w, r)
		case s.noComputed && r.URL.Path == "/metrics":
			out := httptest.NewRecorder()
			sim.ServeHTTP(out, r)
			w.Header().Set("Content-Type", out.Header().Get("Content-Type"))
			_, _ = fmt.Fprint(w, strings.ReplaceAll(out.Body.String(), "kv_computed", "other"))
		case s.noCached && r.Method == http.MethodPost:
			out := httptest.NewRecorder()
			sim.ServeHTTP(out, r)
			w.Header().Set("Content-Type", out.Header().Get("Content-Type"))
			w.WriteHeader(out.Code)
			_, _ = fmt.Fprint(w, strings.ReplaceAll(out.Body.String(), "cached_tokens", "other_tokens"))
		default:
			sim.ServeHTTP(w, r)
		}
	})
}

// chat is a request of about so many prompt tokens that begins with a text of its own,
// or with a common one, and gets 8 tokens.
func chat(text string, tokens int, stream bool) string {
	more := ""
	if stream {
		more = `,"stream":true,"stream_options":{"include_usage":true}`
	}
	text = strings.Repeat(text+" ", 4*tokens/(len(text)+1))
	return fmt.Sprintf(`{"model":%q,"max_tokens":8,"messages":[{"role":"user","content":"%s"}]%s}`, model, text, more)
}

// send sends a live request and waits for its answer.
func (w *gpus) send(t *testing.T, body string) {
	t.Helper()
	out := httptest.NewRecorder()
	r := httptest.NewRequestWithContext(t.Context(), http.MethodPost, endpoint, strings.NewReader(body))
	r.Header.Set("Content-Type", "application/json")
	w.proxy.ServeHTTP(out, r)
	if out.Code != http.StatusOK {
		t.Fatalf("status %d: %s", out.Code, out.Body)
	}
	synctest.Wait()
}

// sendOverlapping sends a live request, beside others.
func (w *gpus) sendOverlapping(t *testing.T, body string) {
	out := httptest.NewRecorder()
	r := httptest.NewRequestWithContext(t.Context(), http.MethodPost, endpoint, strings.NewReader(body))
	r.Header.Set("Content-Type", "application/json")
	w.proxy.ServeHTTP(out, r)
	if out.Code != http.StatusOK {
		t.Errorf("status %d: %s", out.Code, out.Body)
	}
}

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

// TestPrefillIsShown checks that the status and the metrics have what is pending on a
// server, and what is known of its speed.
func TestPrefillIsShown(t *testing.T) {
	onGPUs(t, []gpu{{slower: 1}}, func(t *testing.T, w *gpus) {
		registry := prometheus.NewPedanticRegistry()
		if err := registry.Register(w.pool.Collector()); err != nil {
			t.Fatal(err)
		}
		show := func() (s UpstreamStatus, pending, speed float64) {
			t.Helper()
			families, err := registry.Gather()
			if err != nil {
				t.Fatal(err)
			}
			for _, f := range families {
				switch f.GetName() {
				case "tidegate_upstream_pending_prefill_tokens":
					pending = f.GetMetric()[0].GetGauge().GetValue()
				case "tidegate_upstream_prefill_tokens_per_second":
					speed = f.GetMetric()[0].GetGauge().GetValue()
				}
			}
			return statusOf(t, w.pool, "http://0"), pending, speed
		}
		s, pending, speed := show()
		if s.PendingPrefillTokens != 0 || s.PendingPrefill != 0 || s.PrefillSpeed != 0 || s.TokenSeconds != 0 || len(s.CachedPrompts) != 0 || pending != 0 || speed != 0 {
			t.Errorf("before the first request: %+v, metrics %v and %v", s, pending, speed)
		}
		for i := range 3 {
			w.send(t, chat(fmt.Sprint("a", i), 500*(i+1), true))
		}
		if s, _, speed = show(); s.PrefillSpeed < 17000 || s.PrefillSpeed > 25000 || speed != s.PrefillSpeed {
			t.Errorf("%.0f tokens per second, %.0f in the metrics, want 20480", s.PrefillSpeed, speed)
		}
		if s.TokenSeconds < 0.007 || s.TokenSeconds > 0.009 {
			t.Errorf("%.4f s between tokens, want 0.0075", s.TokenSeconds)
		}
		done := make(chan struct{})
		go func() {
			defer close(done)
			w.send(t, chat("b", 1000, true))
		}()
		pass(time.Millisecond)
		s, pending, _ = show()
		if s.PendingPrefillTokens < 800 || s.PendingPrefillTokens > 1100 || pending != float64(s.PendingPrefillTokens) {
			t.Errorf("%d tokens pending, %.0f in the metrics, want 1000", s.PendingPrefillTokens, pending)
		}
		if s.PendingPrefill < 0.035 || s.PendingPrefill > 0.065 {
			t.Errorf("%.3f s pending, want 0.05", s.PendingPrefill)
		}
		<-done
		if s, pending, _ = show(); s.PendingPrefillTokens != 0 || pending != 0 {
			t.Errorf("%d tokens pending, %.0f in the metrics, after the answer", s.PendingPrefillTokens, pending)
		}
	})
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
			// 48.8 us and the decoding in each step of 2,048 tokens.
			if got := u.pace.estimate(); got < 42e3 || got > 62e3 {
				t.Errorf("after %d requests: got %.0f ns a token on %s, want 48828 to 55000", i, got, u.url)
			}
		}
	}
	work.Wait()
}

// TestServerBecomesSlower checks that what was learned of a server gives way to what
// passes now.
func TestServerBecomesSlower(t *testing.T) {
	var s speed
	const token, step = 50e3, 8e6
	for i := range 20 {
		size := float64(200 + 100*(i%3))
		s.addStream(size, size*token+step, step, true)
	}
	if got := s.estimate(); got < 0.9*token || got > 1.1*token {
		t.Fatalf("%.0f ns a token, want %.0f", got, token)
	}
	s.addStream(300, 30e9, step, true) // it waited behind requests that this gateway does not see
	if got := s.estimate(); got > 2*token {
		t.Errorf("%.0f ns a token after one request that waited, want about %.0f", got, token)
	}
	for i := range 6 {
		size := float64(200 + 100*(i%3))
		s.addStream(size, 3*(size*token+step), 3*step, true)
	}
	if got := s.estimate(); got < 2.2*token || got > 3.6*token {
		t.Errorf("%.0f ns a token on a server that is 3 times slower, want %.0f", got, 3*token)
	}
	for range 3 {
		s.addStream(300, 300*token+step, step, false) // others were read before it, and it was quicker all the same
	}
	if got := s.estimate(); got > 2*token {
		t.Errorf("%.0f ns a token after streams that were quick beside others, want about %.0f", got, token)
	}
	s.addStream(300, 30e9, step, false)
	if got := s.estimate(); got > 2*token {
		t.Errorf("%.0f ns a token after a stream that came behind others, want about %.0f", got, token)
	}
}

// TestCachedPromptsAreNotPending checks that the part of a prompt that a server has in
// its prefix cache is neither counted as pending nor waited for.
func TestCachedPromptsAreNotPending(t *testing.T) {
	for name, server := range map[string]gpu{
		"answers tell":                       {slower: 1},
		"answers tell, there are no metrics": {slower: 1, noMetrics: true},
		"only the metrics tell":              {slower: 1, noCached: true},
	} {
		t.Run(name, func(t *testing.T) {
			onGPUs(t, []gpu{server}, func(t *testing.T, w *gpus) {
				u := w.pool.upstreams[0]
				pending := func(text string) int64 {
					t.Helper()
					slot := reserve(t, w.pool, "")
					defer slot.Release()
					before := u.pace.order.Load()
					if _, err := slot.Send(t.Context(), endpoint, []byte(chat(text, 2000, false))); err != nil {
						t.Fatal(err)
					}
					return u.pace.order.Load() - before
				}
				w.send(t, chat("own", 300, true))
				if got := pending("first"); got < 1500 || got > 2500 {
					t.Errorf("%d tokens pending for a prompt that nothing is known of, want 2000", got)
				}
				for range 16 {
					pending("same")
					pass(6 * time.Second) // a look at the metrics
				}
				if got := pending("same"); got > 300 {
					t.Errorf("%d tokens pending for a prompt that is in the cache, want next to none", got)
				}
				pass(6 * time.Second)
				u.pace.learn(time.Now(), u.gauges, 1, true, ForBoth)
				if gap := time.Duration(u.pace.gap.Load()); gap > 30*time.Millisecond {
					t.Errorf("a pause of %v between lines from the cache, want much less than the 100 ms of a whole prompt", gap)
				}
				for i := range 16 {
					pending(fmt.Sprint("new", i))
					pass(6 * time.Second)
				}
				if got := pending("another"); got < 1500 {
					t.Errorf("%d tokens pending after prompts that were not in the cache, want 2000", got)
				}
			})
		})
	}
}

// TestUnseenPromptsEnd checks that an answer shows that all earlier prompts have been read,
// independent of the estimate.
func TestUnseenPromptsEnd(t *testing.T) {
	var p pace
	p.teach(time.Millisecond, 0, 0)
	a := p.beginUnseen(0, Batch, 100)
	b := p.beginPlain(0, 50)
	p.beginUnseen(0, Batch, 10)
	want := func(now int64, want time.Duration) {
		t.Helper()
		if got := time.Duration(p.pending(now)); got != want {
			t.Errorf("%v pending, want %v", got, want)
		}
	}
	want(0, 160*time.Millisecond)
	p.endUnseen(1e6, b)
	want(1e6, 10*time.Millisecond)
	p.endUnseen(2e6, a) // which is known since b
	want(2e6, 9*time.Millisecond)
	want(20e6, 0)
}

// TestPromptTokens checks the estimate of tokens from bytes.
func TestPromptTokens(t *testing.T) {
	type answer struct{ bytes, tokens int64 }
	for name, tt := range map[string]struct {
		answers []answer
		bytes   int64
		want    int64
	}{
		"nothing is known":              {nil, 400, 100},
		"an empty body":                 {nil, 0, 1},
		"requests of that size":         {[]answer{{1000, 200}}, 1100, 220},
		"requests of other sizes":       {[]answer{{100, 5}, {100000, 50000}}, 70000, 35000},
		"the nearest size":              {[]answer{{100, 5}, {100000, 50000}}, 250, 13},
		"images have a size of theirs":  {[]answer{{1000, 250}, {4 << 20, 1024}}, 1200, 300},
		"a large one after images":      {[]answer{{1000, 250}, {4 << 20, 1024}}, 8 << 20, 2048},
		"no tokens":                     {[]answer{{1000, 0}, {0, 10}}, 400, 100},
		"counts that cannot be of that": {[]answer{{1000, 1 << 30}, {1 << 30, 1}}, 400, 100},
		"the newest counts most": {
			[]answer{{1000, 250}, {1000, 500}, {1000, 500}, {1000, 500}, {1000, 500}, {1000, 500}, {1000, 500}, {1000, 500}},
			1000, 462,
		},
	} {
		var p promptTokens
		for _, a := range tt.answers {
			p.learn(a.bytes, a.tokens)
		}
		if got := p.estimate(tt.bytes); got != tt.want {
			t.Errorf("%s: %d tokens in %d bytes, want %d", name, got, tt.bytes, tt.want)
		}
	}
	if got := (*promptTokens)(nil).estimate(40); got != 10 {
		t.Errorf("%d tokens without a model, want 10", got)
	}
}

// TestPeersPrefill checks that the pending prefill of a second gateway is seen: live
// requests go elsewhere, and batch lines wait for its live requests.
func TestPeersPrefill(t *testing.T) {
	onGPUs(t, []gpu{{slower: 1}, {slower: 1}}, func(t *testing.T, w *gpus) {
		second, _ := w.gateway(t)
		for i := range 6 { // the first gateway knows the servers
			w.send(t, chat(fmt.Sprint("a", i), 500, true))
		}
		for server := range w.sims {
			first := w.pool.upstreams[server].pace.estimate()
			if first == 0 {
				t.Fatalf("nothing is known of server %d", server)
			}
		}
		// The second gateway sends prompts of 20,000 tokens, a second, to server 0.
		if err := second.Drain("http://1"); err != nil {
			t.Fatal(err)
		}
		proxy := NewProxy(second, zap.NewNop(), nil)
		done := make(chan struct{})
		for i := range 8 {
			go func() {
				r := httptest.NewRequestWithContext(t.Context(), http.MethodPost, endpoint, strings.NewReader(chat(fmt.Sprint("b", i), 2500, true)))
				r.Header.Set("Content-Type", "application/json")
				proxy.ServeHTTP(httptest.NewRecorder(), r)
				done <- struct{}{}
			}()
		}
		synctest.Wait()
		announce := func(more func(map[string]Load)) {
			t.Helper()
			text, err := json.Marshal(second.Loads())
			if err != nil {
				t.Fatal(err)
			}
			var loads map[string]Load
			if err := json.Unmarshal(text, &loads); err != nil {
				t.Fatal(err)
			}
			if more != nil {
				more(loads)
			}
			w.pool.SetPeers(Peers{All: 1, Serving: 1, Working: 1}, loads)
		}
		chosen := func() string {
			s := w.pool.now.Load()
			return s.choose(s.models[model], &Query{Class: Live, Model: model}, nil).URL
		}
		// Many requests run on server 1, and none of them has to be read.
		busy := func(loads map[string]Load) { loads["http://1"] = Load{Live: 50} }
		announce(busy)
		if s := statusOf(t, w.pool, "http://0"); s.OthersPendingPrefillTokens < 15000 || s.OthersPendingPrefillTokens > 22000 || s.PendingPrefillTokens != 0 || s.PendingPrefill < 0.7 {
			t.Errorf("%d tokens of others and %d of its own, %.2f s pending, want 20000 and none, 1 s", s.OthersPendingPrefillTokens, s.PendingPrefillTokens, s.PendingPrefill)
		}
		if got := chosen(); got != "http://1" {
			t.Errorf("a live request goes to %s, where the prompts of the second gateway are read", got)
		}
		if err := w.pool.Drain("http://1"); err != nil {
			t.Fatal(err)
		}
		if _, err := w.pool.Reserve(model, ""); !errors.Is(err, ErrBusy) {
			t.Errorf("a line came beside live requests of the second gateway that wait (%v)", err)
		}
		drained(w.pool)
		began := time.Now()
		var slot *Slot
		for slot == nil {
			s, err := w.pool.Reserve(model, "")
			if errors.Is(err, ErrBusy) {
				<-w.pool.Freed()
				continue
			}
			if err != nil {
				t.Fatal(err)
			}
			slot = s
		}
		if took := time.Since(began); took < 700*time.Millisecond || took > 1500*time.Millisecond {
			t.Errorf("a line came after %v, want the second that the prompts take", took)
		}
		slot.Release()
		for range 8 {
			<-done
		}
		synctest.Wait()
		if err := w.pool.Undrain("http://1"); err != nil {
			t.Fatal(err)
		}
		announce(busy)
		if s := statusOf(t, w.pool, "http://0"); s.OthersPendingPrefillTokens != 0 {
			t.Errorf("%d tokens of others after their answers", s.OthersPendingPrefillTokens)
		}
		if got := chosen(); got != "http://0" {
			t.Errorf("a live request goes to %s, where 50 run", got)
		}
		// Nothing is believed of a gateway that is not heard any more, and what one of an
		// older version tells is enough.
		w.pool.SetPeers(Peers{All: 1, Serving: 1, Working: 1}, map[string]Load{"http://0": {Live: 1, Prefill: 1 << 62, LivePrefill: -1}})
		if s := statusOf(t, w.pool, "http://0"); s.PendingPrefill > peersMost.Seconds() || s.PendingPrefill < 1 {
			t.Errorf("%.0f s pending of a number that cannot be", s.PendingPrefill)
		}
		w.pool.SetPeers(Peers{All: 1, Serving: 1, Working: 1}, nil)
		if s := statusOf(t, w.pool, "http://0"); s.OthersPendingPrefillTokens != 0 || s.PendingPrefill != 0 {
			t.Errorf("%d tokens of a gateway that is silent", s.OthersPendingPrefillTokens)
		}
	})
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
					w.pool.upstreams[0].pace.addStream(300, 300*48828+7.5e6, 7.5e6, true) // as a quick one
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
// for as quick as the others: it gets its part of the live requests, and not all.
func TestUnknownServerIsLikeOthers(t *testing.T) {
	onGPUs(t, []gpu{{slower: 1}, {slower: 1}, {slower: 1}}, func(t *testing.T, w *gpus) {
		all := w.pool.upstreams
		for i, perToken := range []float64{30e3, 60e3} {
			all[i].pace.addStream(300, 300*perToken, 1, true)
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
	})
}
