package upstreams

import (
	"math"
	"math/rand/v2"
	"testing"
	"time"
)

// engine is a model server as its limiter sees it: a step of n requests takes
// base + each·n seconds and gives each of them a token, up to most requests run at
// once, and measurements are off by a part of noise.
type engine struct {
	most       int
	base, each float64
	noise      float64

	limiter  limiter
	random   *rand.Rand
	at       time.Time
	tokens   float64
	inFlight int
	done     float64
	busy     int // batch lines that there are
	live     int
	ceiling  int
	placed   Placement
}

func newEngine(most int, base, each time.Duration) *engine {
	return &engine{
		most: most, base: base.Seconds(), each: each.Seconds(), random: rand.New(rand.NewPCG(1, 2)),
		at: time.Unix(1e9, 0), busy: 10_000, ceiling: 256, placed: ForBoth,
	}
}

// throughput is tokens per second with n requests.
func (e *engine) throughput(n int) float64 {
	n = min(n, e.most)
	return float64(n) / (e.base + e.each*float64(n))
}

// step lets the time between two samples pass and returns the limit.
func (e *engine) step() int {
	span := limitWatch
	if e.limiter.searching() || e.limiter.limit == 0 {
		span = limitSample
	}
	e.at = e.at.Add(span)
	e.inFlight = min(e.busy+e.live, max(e.limiter.limit, e.live))
	running := min(e.inFlight, e.most)
	e.tokens += e.throughput(e.inFlight) * span.Seconds() * (1 + e.noise*e.random.NormFloat64())
	e.done += e.throughput(e.inFlight) * span.Seconds() / 200 // tokens a line
	return e.limiter.observe(loadSample{
		at: e.at, hasMetrics: true, running: float64(running), waiting: float64(e.inFlight - running), hasTokens: true, made: e.tokens,
		inFlight: e.inFlight, batch: e.inFlight - e.live, lines: e.inFlight - e.live, wanted: e.inFlight < e.busy+e.live, done: int64(e.done), ceiling: e.ceiling, placed: e.placed,
	})
}

// after lets time pass.
func (e *engine) after(d time.Duration) (limit int) {
	for end := e.at.Add(d); e.at.Before(end); {
		limit = e.step()
	}
	return limit
}

// The limit is found within 20 s: what a server runs at once, where it tells so by
// letting requests wait, and else where more requests do not bring more.
func TestLimitIsFound(t *testing.T) {
	for _, tt := range []struct {
		name     string
		engine   *engine
		low, top int
		why      LimitReason
	}{
		{"4 at once", newEngine(4, 7500*time.Microsecond, 22*time.Microsecond), 4, 4, LimitWaiting},
		{"one at once", newEngine(1, 7500*time.Microsecond, 22*time.Microsecond), 2, 2, LimitWaiting},
		{"16 at once", newEngine(16, 7500*time.Microsecond, 22*time.Microsecond), 16, 16, LimitWaiting},
		{"64 at once", newEngine(64, 7500*time.Microsecond, 22*time.Microsecond), 64, 64, LimitWaiting},
		{"240 at once", newEngine(240, 7500*time.Microsecond, 22*time.Microsecond), 240, 240, LimitWaiting},
		{"256 at once", newEngine(256, 7500*time.Microsecond, 22*time.Microsecond), 256, 256, LimitCeiling},
		// A step that takes twice as long for base/each requests.
		{"3 to 8 times base/each", newEngine(256, 6*time.Millisecond, 1660*time.Microsecond), 10, 29, LimitPlateau},
		{"1.5 to 5 times a larger one", newEngine(256, 9*time.Millisecond, 500*time.Microsecond), 27, 90, LimitPlateau},
		{"none pays", newEngine(256, time.Microsecond, time.Millisecond), 2, 8, LimitPlateau},
	} {
		for _, tt.engine.noise = range []float64{0, 0.02} {
			e := *tt.engine
			got := e.after(20 * time.Second)
			if got < tt.low || got > tt.top || e.limiter.why != tt.why {
				t.Errorf("%s, noise %.2f: after 20 s the limit is %d (%s), want %d to %d (%s); %+v",
					tt.name, e.noise, got, e.limiter.why, tt.low, tt.top, tt.why, e.limiter.levels)
			}
		}
	}
}

// TestLimitDelivers checks the throughput with the found limit relative to the best limit, for
// random servers with noisy measurements.
func TestLimitDelivers(t *testing.T) {
	random := rand.New(rand.NewPCG(3, 4))
	worst, all := 1.0, 0.0
	for range 300 {
		e := newEngine(256, time.Duration(5+random.IntN(20))*time.Millisecond, time.Duration(20*math.Exp(5*random.Float64()))*time.Microsecond)
		e.random, e.noise = random, 0.03
		e.after(30 * time.Second)
		sum, n := 0.0, 0
		for range 60 {
			e.step()
			sum += e.throughput(e.inFlight)
			n++
		}
		part := sum / float64(n) / e.throughput(256)
		worst, all = min(worst, part), all+part
	}
	if worst < 0.4 || all/300 < 0.7 {
		t.Errorf("servers deliver %.2f of their throughput, the worst %.2f; want 0.7 and 0.4 at least", all/300, worst)
	}
}

// A queue at the server is answered at the second sample.
func TestLimitFallsAtOnce(t *testing.T) {
	e := newEngine(256, 7500*time.Microsecond, 22*time.Microsecond)
	e.after(20 * time.Second)
	e.most = 32
	e.step()
	if got := e.step(); got != 32 {
		t.Errorf("after the server shrank the limit is %d, want 32", got)
	}
}

// Long prompts that a server reads one after the other are no queue, although they
// wait, and neither is a queue in which the server gets on.
func TestPromptsThatWait(t *testing.T) {
	l := limiter{}
	s := loadSample{at: time.Unix(1e9, 0), hasMetrics: true, inFlight: 16, batch: 16, ceiling: 256, placed: ForBoth}
	for s.running = 0; s.running <= 16; s.running += 2 {
		s.at = s.at.Add(limitSample)
		s.waiting = 16 - s.running
		if l.observe(s); l.hard != 0 {
			t.Fatalf("with %.0f running and %.0f waiting the server is thought to run %d at once", s.running, s.waiting, l.hard)
		}
	}
	// What was found too low is forgotten when the server runs more.
	l.limit, l.hard, l.until = 4, 4, s.at.Add(time.Hour)
	s.running, s.waiting = 6, 0
	if l.observe(s); l.hard != 0 || s.at.Before(l.until) {
		t.Errorf("a server that runs 6 at once is thought to run %d", l.hard)
	}
}

// A server that was replaced by a larger or a smaller one, or that became slower, has
// another limit within 20 s.
func TestLimitOfAReplacedServer(t *testing.T) {
	for _, tt := range []struct {
		name     string
		change   func(e *engine)
		low, top int
	}{
		{"twice as many at once", func(e *engine) { e.most, e.tokens = 128, 0 }, 128, 128},
		{"half as many at once", func(e *engine) { e.most, e.tokens = 32, 0 }, 32, 32},
		{"half as many, the same counters", func(e *engine) { e.most = 32 }, 32, 32},
		{"few pay, the same counters", func(e *engine) { e.base, e.each = 0.006, 0.002 }, 12, 36},
	} {
		e := newEngine(64, 7500*time.Microsecond, 22*time.Microsecond)
		e.after(time.Minute)
		tt.change(e)
		if got := e.after(20 * time.Second); got < tt.low || got > tt.top {
			t.Errorf("%s: the limit is %d (%s), want %d to %d", tt.name, got, e.limiter.why, tt.low, tt.top)
		}
	}
}

// TestLimitRises checks that a larger capacity without a restart is detected when the limit is
// measured again.
func TestLimitRises(t *testing.T) {
	e := newEngine(64, 7500*time.Microsecond, 22*time.Microsecond)
	e.after(20 * time.Second)
	e.most = 256
	if got := e.after(waitingHold + 20*time.Second); got != 256 {
		t.Errorf("the limit is %d, want 256", got)
	}
}

// Without much to do nothing is learned, and nothing is forgotten.
func TestLimitOfAnIdleServer(t *testing.T) {
	e := newEngine(256, 7500*time.Microsecond, 22*time.Microsecond)
	e.after(20 * time.Second)
	e.busy = 3
	if got := e.after(10 * time.Minute); got != 256 {
		t.Errorf("the limit is %d, want 256", got)
	}
	e = newEngine(256, 7500*time.Microsecond, 22*time.Microsecond)
	e.busy, e.live = 0, 100 // live requests alone teach nothing
	if got := e.after(time.Minute); got != limitStart {
		t.Errorf("the limit is %d, want %d", got, limitStart)
	}
}

// TestLimitBesideLive finds a limit that stays at its start if live requests alone use it up:
// then no line can run beside them, although the server has room.
func TestLimitBesideLive(t *testing.T) {
	e := newEngine(256, 7500*time.Microsecond, 22*time.Microsecond)
	e.live = 100
	if got := e.after(30 * time.Second); got != 256 {
		t.Errorf("the limit is %d, want 256", got)
	}
}

// Requests that arrive while a step runs wait for its end: that is no queue. A few
// that wait all the time are one.
func TestQueueAtAServer(t *testing.T) {
	for _, tt := range []struct {
		name    string
		waiting func(i int) float64
		rate    float64 // lines per second
		want    int
	}{
		{"arrivals between steps", func(i int) float64 { return float64(i % 4) }, 50, 190},
		{"many arrivals between steps", func(i int) float64 { return float64(8 + i%5) }, 400, 190},
		{"a short queue", func(i int) float64 { return float64(6 + i%3) }, 50, 180},
		{"one waits all the time", func(int) float64 { return 1 }, 5, 180},
		{"a long queue", func(int) float64 { return 30 }, 400, 180},
	} {
		l := limiter{limit: 190, why: LimitPlateau, until: time.Unix(2e9, 0)}
		s := loadSample{at: time.Unix(1e9, 0), hasMetrics: true, running: 180, step: 0.025, batch: 182, ceiling: 256, placed: ForBoth}
		for i := range 20 {
			s.at = s.at.Add(time.Second)
			s.done += int64(tt.rate)
			s.waiting = tt.waiting(i)
			s.inFlight = int(s.running + s.waiting)
			l.observe(s)
		}
		if l.limit != tt.want {
			t.Errorf("%s: the limit is %d, want %d", tt.name, l.limit, tt.want)
		}
	}
}

// Requests of others that a server runs are not room for this gateway's.
func TestLimitBesideOthers(t *testing.T) {
	l := limiter{limit: 40}
	s := loadSample{at: time.Unix(1e9, 0), hasMetrics: true, running: 64, waiting: 16, inFlight: 40, batch: 40, ceiling: 256, placed: ForBoth}
	l.observe(s)
	if got := l.observe(s); got != 24 {
		t.Errorf("the limit is %d, want 24", got)
	}
}

// A server without metrics has its limit found by the lines that end.
func TestLimitWithoutMetrics(t *testing.T) {
	for _, tt := range []struct {
		name     string
		each     time.Duration
		low, top int
	}{
		{"all pay", 10 * time.Microsecond, 256, 256},
		{"20 pay", 1660 * time.Microsecond, 14, 30},
	} {
		e := newEngine(256, 6*time.Millisecond, tt.each)
		s := loadSample{at: e.at, ceiling: 256, placed: ForBoth}
		done := 0.0
		for range 120 {
			s.inFlight = max(e.limiter.limit, 1)
			s.batch = s.inFlight
			s.at = s.at.Add(time.Second)
			done += e.throughput(s.inFlight) / 20 // tokens a line
			s.done = int64(done)
			e.limiter.observe(s)
		}
		if got := e.limiter.limit; got < tt.low || got > tt.top {
			t.Errorf("%s: the limit is %d (%s), want %d to %d", tt.name, got, e.limiter.why, tt.low, tt.top)
		}
	}
}

// Preemptions and a KV cache that is nearly used up shrink the limit.
func TestLimitOfTheKVCache(t *testing.T) {
	s := loadSample{at: time.Unix(1e9, 0), hasMetrics: true, running: 100, inFlight: 100, batch: 100, ceiling: 256, placed: ForBoth}
	l := limiter{limit: 100}
	l.observe(s)
	s.at, s.preempts = s.at.Add(time.Second), 3
	if got := l.observe(s); got != 85 || l.why != LimitKVCache {
		t.Errorf("after preemptions the limit is %d (%s), want 85 (%s)", got, l.why, LimitKVCache)
	}
	l = limiter{limit: 100}
	s.kvCache = 0.95
	for range 5 { // nothing ended meanwhile
		s.at = s.at.Add(time.Second)
		l.observe(s)
	}
	if l.limit != 89 || l.why != LimitKVCache {
		t.Errorf("with 0.95 of the KV cache in use the limit is %d (%s), want 89 (%s)", l.limit, l.why, LimitKVCache)
	}
}
