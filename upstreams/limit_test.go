package upstreams

import (
	"testing"
	"time"
)

// engine is a server as its limiter sees it: it runs most requests at once, and
// delivers so many tokens per second for every running request up to its knee.
type engine struct {
	most, knee int
	perRequest float64

	limiter limiter
	at      time.Time
	tokens  float64
	busy    int // requests that somebody wants to send
	live    int
	ceiling int
}

// second lets a second pass and returns the limit.
func (e *engine) second() int {
	limit := e.limiter.limit
	if limit == 0 {
		limit = limitStart
	}
	inFlight := min(e.busy+e.live, max(limit, e.live))
	running := min(inFlight, e.most)
	e.at = e.at.Add(time.Second)
	e.tokens += e.perRequest * float64(min(running, e.knee))
	return e.limiter.step(loadSample{
		at: e.at, told: true, running: float64(running), waiting: float64(inFlight - running), counted: true, tokens: e.tokens,
		inFlight: inFlight, batch: inFlight - e.live, ceiling: e.ceiling,
	})
}

// after lets seconds pass.
func (e *engine) after(seconds int) int {
	limit := 0
	for range seconds {
		limit = e.second()
	}
	return limit
}

func newEngine(most, knee int) *engine {
	return &engine{most: most, knee: knee, perRequest: 50, at: time.Unix(1e9, 0), busy: 10_000, ceiling: 256}
}

// The limit found leaves room at a server that runs few requests, uses a large one
// up, and stops where more requests bring nothing.
func TestLimitIsFound(t *testing.T) {
	for _, tt := range []struct {
		name     string
		engine   *engine
		low, top int
		why      LimitReason
	}{
		{"16 at once", newEngine(16, 16), 12, 14, LimitWaiting},
		{"4 at once", newEngine(4, 4), 3, 3, LimitWaiting},
		{"one at once", newEngine(1, 1), 2, 2, LimitWaiting},
		{"64 at once", newEngine(64, 64), 50, 60, LimitWaiting},
		{"256 at once, all pay", newEngine(256, 256), 256, 256, LimitCeiling},
		{"256 at once, 24 pay", newEngine(256, 24), 24, 24, LimitPlateau},
		{"256 at once, 100 pay", newEngine(256, 100), 81, 130, LimitPlateau},
	} {
		got := tt.engine.after(30)
		if got < tt.low || got > tt.top || tt.engine.limiter.why != tt.why {
			t.Errorf("%s: after 30 s the limit is %d (%s), want %d to %d (%s)", tt.name, got, tt.engine.limiter.why, tt.low, tt.top, tt.why)
		}
	}
}

// Requests that wait are answered at the second sample at the latest: fewer are sent
// than the server runs.
func TestLimitFallsAtOnce(t *testing.T) {
	e := newEngine(16, 16)
	if got := e.after(2); got >= 16 {
		t.Errorf("after two samples the limit is %d, want less than 16", got)
	}
	e = newEngine(256, 256)
	e.after(30)
	e.most = 32 // the server was replaced by a smaller one
	if got := e.after(2); got >= 32 {
		t.Errorf("after the server shrank the limit is %d, want less than 32", got)
	}
}

// A server that was replaced by a larger one is found out in time.
func TestLimitRises(t *testing.T) {
	e := newEngine(256, 24)
	e.after(30)
	e.knee = 256
	if got := e.after(300); got != 256 {
		t.Errorf("five minutes after the server grew the limit is %d, want 256", got)
	}
}

// Without much to do nothing is learned, and nothing is forgotten.
func TestLimitOfAnIdleServer(t *testing.T) {
	e := newEngine(256, 256)
	e.after(30)
	e.busy = 3
	if got := e.after(600); got != 256 {
		t.Errorf("the limit is %d, want 256", got)
	}
	e = newEngine(256, 256)
	e.busy, e.live = 0, 100 // live requests alone teach nothing
	if got := e.after(60); got != limitStart {
		t.Errorf("the limit is %d, want %d", got, limitStart)
	}
}

// A few requests that wait for the server's next step are no queue.
func TestRequestsBetweenSteps(t *testing.T) {
	l := limiter{limit: 192}
	at := time.Unix(1e9, 0)
	for range 100 {
		at = at.Add(time.Second)
		if got := l.step(loadSample{at: at, told: true, running: 180, waiting: 12, inFlight: 192, batch: 192, ceiling: 192}); got != 192 {
			t.Fatalf("the limit is %d, want 192", got)
		}
	}
}

// A server that tells nothing is filled up to its ceiling.
func TestLimitWithoutMetrics(t *testing.T) {
	l := limiter{}
	at := time.Unix(1e9, 0)
	got := 0
	for range 20 {
		at = at.Add(time.Second)
		inFlight := max(l.limit, limitStart)
		got = l.step(loadSample{at: at, inFlight: inFlight, batch: inFlight, ceiling: 256})
	}
	if got != 256 || l.why != LimitCeiling {
		t.Errorf("the limit is %d (%s), want 256 (%s)", got, l.why, LimitCeiling)
	}
}

// Preemptions shrink the limit: the KV cache is too small for so many.
func TestLimitOfPreemptions(t *testing.T) {
	l := limiter{limit: 100}
	s := loadSample{at: time.Unix(1e9, 0), told: true, running: 100, inFlight: 100, batch: 100, ceiling: 256}
	l.step(s)
	s.at, s.preempts = s.at.Add(time.Second), 3
	if got := l.step(s); got != 85 || l.why != LimitKVCache {
		t.Errorf("the limit is %d (%s), want 85 (%s)", got, l.why, LimitKVCache)
	}
}
