package upstreams

import (
	"context"
	"errors"
	"io"
	"math"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"
)

// What the server says of the requests that ended tells how long it takes for the
// prompt of the next one.
func TestPaceLearns(t *testing.T) {
	const ms = float64(time.Millisecond)
	told := gauges{present: true}
	long := gauges{present: true, prefills: 1, prefillTime: 4.01, firsts: 1, prompt: 80000, prompts: 80000, intervals: 100, intervalTime: 1}
	// A second with n prompts of 1,000 tokens, which took so many seconds each, and with
	// steps of so many seconds.
	second := func(n, prefill, step float64) gauges {
		return gauges{present: true, prefills: n, prefillTime: n * prefill, firsts: n, prompt: 1000 * n, prompts: 1000 * n, intervals: 1 / step, intervalTime: 1}
	}
	for _, tt := range []struct {
		name     string
		seconds  []gauges
		gateways int
		perToken float64 // ns
		gap      time.Duration
	}{
		// 20 ms beside a step of 10 ms for 1,000 tokens; a tenth of the steps has a prefill.
		{"prompts of 1,000 tokens", []gauges{second(10, 0.028, 0.01), second(10, 0.028, 0.01)}, 1, 0.02 * ms, 28 * time.Millisecond},
		{"two gateways", []gauges{second(10, 0.028, 0.01), second(10, 0.028, 0.01)}, 2, 0.02 * ms, 56 * time.Millisecond},
		{"short prompts share a step", []gauges{second(10, 0.0118, 0.01), second(10, 0.0118, 0.01)}, 1, 0.002 * ms, 4 * time.Millisecond},
		{"a prefill in each step tells only how long it takes at most", []gauges{second(50, 0.02, 0.02), second(50, 0.02, 0.02)}, 1, 0.02 * ms, 25 * time.Millisecond},
		{"a prefill of before is not compared with other steps", []gauges{second(10, 0.028, 0.01), second(10, 0.028, 0.01), second(10, 0.028, 0.02)}, 1, 0.02 * ms, 36 * time.Millisecond},
		// 4 s for 80,000 tokens, in a hundredth of the steps.
		{"prompts that take longer than a second", []gauges{long, long}, 1, 4 / 0.99 / 80 * ms, 53005051},
		// 80 prompts of 1,000 tokens a second, and then the end of one of 100,000.
		{"a long prompt among many", []gauges{second(80, 0.02, 0.01), second(80, 0.02, 0.01), {present: true, prefills: 80, prefillTime: 6, firsts: 80, prompt: 180000, prompts: 180000, intervals: 100, intervalTime: 1}}, 1, 0.0125 * ms, 15 * time.Millisecond},
		{"prefills that are shorter than a step are those of other steps", []gauges{second(10, 0.028, 0.01), second(10, 0.028, 0.01), second(10, 0.005, 0.01)}, 1, 0.02 * ms, 28 * time.Millisecond},
		{"prompts that take no time", []gauges{second(10, 0.01, 0.01), second(10, 0.01, 0.01)}, 1, 0, 0},
		{"embeddings hold up no stream", []gauges{{present: true, prefills: 10, prefillTime: 0.05}}, 1, 0, 0},
		{"a fraction of a millisecond", []gauges{second(10, 0.01036, 0.01), second(10, 0.01036, 0.01)}, 1, 0.0004 * ms, 0},
		{"the server tells nothing", []gauges{{}}, 1, 0, 0},
		{"no request ended", []gauges{told}, 1, 0, 0},
	} {
		now := time.Unix(1e9, 0)
		var p pace
		figures := gauges{present: tt.seconds[0].present}
		p.learn(now, figures, tt.gateways, true, ForBoth)
		for _, more := range tt.seconds {
			for range 10 {
				p.beginUnseen(0, Batch, 1000)
			}
			figures.prefills += more.prefills
			figures.prefillTime += more.prefillTime
			figures.firsts += more.firsts
			figures.prompt += more.prompt
			figures.prompts += more.prompts
			figures.intervals += more.intervals
			figures.intervalTime += more.intervalTime
			now = now.Add(time.Second)
			p.learn(now, figures, tt.gateways, true, ForBoth)
		}
		perToken := p.estimate()
		if math.Abs(perToken-tt.perToken) > 1 || math.Abs(float64(p.gap.Load())-float64(tt.gap)) > 1000 {
			t.Errorf("%s: %.0f ns a token and a pause of %v, want %.0f and %v", tt.name, perToken, time.Duration(p.gap.Load()), tt.perToken, tt.gap)
		}
		restarted := gauges{present: figures.present} // lower counters say nothing
		p.learn(now.Add(time.Second), restarted, tt.gateways, true, ForBoth)
		if got := p.estimate(); got != perToken {
			t.Errorf("%s: %.0f ns a token after a restart, want %.0f", tt.name, got, perToken)
		}
	}
}

// teach sets what is known of a server, whose lines have so many tokens.
func (p *pace) teach(perToken, step time.Duration, tokens float64) {
	p.perToken.store(float64(perToken))
	p.interval.Store(int64(step))
	p.learned.tokensOf = tokens
	p.learn(time.Now(), gauges{}, 1, true, ForBoth)
}

// TestBatchLinesArePaced checks that batch lines are sent one after the other, and that
// waiters are notified when the next one may be sent.
func TestBatchLinesArePaced(t *testing.T) {
	inTime(t, func(t *testing.T, w *timed) {
		if err := w.pool.Drain("http://b"); err != nil {
			t.Fatal(err)
		}
		a := w.pool.upstreams[0]
		a.pace.teach(time.Millisecond, 1, 20)
		drained(w.pool)
		began := time.Now()
		var slots []*Slot
		for len(slots) < 10 {
			s, err := w.pool.Reserve(model, "")
			if errors.Is(err, ErrBusy) {
				<-w.pool.Freed()
				continue
			}
			if err != nil {
				t.Fatal(err)
			}
			slots = append(slots, s)
		}
		if took := time.Since(began); took < 160*time.Millisecond || took > 200*time.Millisecond {
			t.Errorf("10 lines began within %v, want 9 pauses of 20 ms", took)
		}
		if w.pool.Free(model) {
			t.Error("a line may come at once")
		}
		for _, s := range slots {
			s.Release()
		}
	})
}

// TestBatchWaitsForLive checks that while a live request waits for its first token its server
// gets no line, and other servers do. The delay is limited by the expected time of the token.
func TestBatchWaitsForLive(t *testing.T) {
	for name, tt := range map[string]struct {
		body string
		gone bool // the client leaves before the first byte
		late bool // there is no first byte in time
		held time.Duration
	}{
		"a stream":             {body: `{"model":"m","stream":true}`, held: 50 * time.Millisecond},
		"its client leaves":    {body: `{"model":"m","stream":true}`, gone: true, held: 50 * time.Millisecond},
		"a token that is late": {body: `{"model":"m","stream":true}`, late: true, held: 2 * (27 + 20) * time.Millisecond},
		"an answer as a whole": {body: `{"model":"m","stop":"xxxx"}`, late: true, held: (27 + 20) * time.Millisecond},
		"a quick whole answer": {body: `{"model":"m","stop":"xxxx"}`, held: 20 * time.Millisecond},
	} {
		t.Run(name, func(t *testing.T) {
			inTime(t, func(t *testing.T, w *timed) {
				for _, u := range w.pool.upstreams {
					u.pace.teach(time.Millisecond, 10*time.Millisecond, 0)
				}
				w.pool.now.Load().record(model).prompts.learn(27, 27) // a token is a byte
				if err := w.pool.Drain("http://b"); err != nil {
					t.Fatal(err)
				}
				begun, proceed := make(chan struct{}), make(chan struct{})
				set(&w.a.serve, func(rw http.ResponseWriter, r *http.Request) {
					_, _ = io.Copy(io.Discard, r.Body)
					close(begun)
					select {
					case <-proceed:
					case <-r.Context().Done():
						return
					}
					streamed(sseEvent, sseDone)(rw, r)
				})
				proxy := NewProxy(w.pool, zap.NewNop(), nil)
				r := httptest.NewRequest(http.MethodPost, endpoint, strings.NewReader(tt.body))
				ctx, leave := context.WithCancel(t.Context())
				client := make(chan struct{})
				go func() {
					defer close(client)
					defer func() { _ = recover() }() // the connection is cut
					proxy.ServeHTTP(httptest.NewRecorder(), r.WithContext(ctx))
				}()
				<-begun
				began := time.Now()
				if w.pool.Free(model) {
					t.Error("a line may come")
				}
				if _, err := w.pool.Reserve(model, ""); !errors.Is(err, ErrBusy) {
					t.Errorf("a line came: %v", err)
				}
				if err := w.pool.Undrain("http://b"); err != nil {
					t.Fatal(err)
				}
				other := reserve(t, w.pool, "")
				if other.Upstream() != "http://b" {
					t.Errorf("a line came to %s", other.Upstream())
				}
				if err := w.pool.Drain("http://b"); err != nil {
					t.Fatal(err)
				}
				drained(w.pool)
				if !tt.late {
					time.AfterFunc(tt.held, func() {
						if tt.gone {
							leave()
						} else {
							close(proceed)
						}
					})
				}
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
				if held := time.Since(began); held < tt.held || held > tt.held+2*time.Millisecond {
					t.Errorf("no line came for %v, want %v", held, tt.held)
				}
				slot.Release()
				other.Release()
				leave()
				<-client
				synctest.Wait()
				if n := &w.pool.upstreams[0].pace; n.stream.waiting.Load() != 0 || n.plain.waiting.Load() != 0 || n.live.Load() != 0 {
					t.Errorf("%d streams and %d others wait, %d tokens", n.stream.waiting.Load(), n.plain.waiting.Load(), n.live.Load())
				}
			})
		})
	}
}

// Seats that live requests took lately stay free for them on a server that runs no
// more than its limit, and are given to lines again in time.
func TestSeatsForLive(t *testing.T) {
	now := time.Unix(1e9, 0)
	s := liveReserve{at: now}
	s.noteLive(6)
	s.sample(now, 0, false)
	if got := s.reserved(2, 16); got != 2 {
		t.Errorf("%d live slots are kept where nothing waits, want 2", got)
	}
	s.sample(now, 0, true)
	for _, tt := range []struct{ live, all, want int }{{0, 16, 6}, {2, 16, 6}, {9, 16, 9}, {0, 8, 4}, {0, 2, 1}} {
		if got := s.reserved(tt.live, tt.all); got != tt.want {
			t.Errorf("%d live slots of %d are kept beside %d live requests, want %d", got, tt.all, tt.live, tt.want)
		}
	}
	now = now.Add(reserveHalfLife)
	s.sample(now, 0, true)
	if got := s.reserved(0, 16); got != 3 {
		t.Errorf("a while later %d are kept, want 3", got)
	}
	s.sample(now.Add(time.Hour), 0, true)
	if got := s.reserved(0, 16); got != 1 {
		t.Errorf("an hour later %d are kept, want 1", got)
	}
}
