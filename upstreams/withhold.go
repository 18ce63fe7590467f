package upstreams

import (
	"context"
	"hash/fnv"
	"math"
	"math/rand/v2"
	"slices"
	"time"

	"go.uber.org/zap"
)

// Withholding: now and then no batch line is sent to one server, and once the last
// one there has ended, live streams that are dispatched to it are samples without
// batch. Moments in which no batch line runs by itself are none: they come when live
// requests take all slots, or when there is no work, and are unlike others. Only
// windows that begin at random are.
//
// The start of a window is drawn from the server's URL and the time: gateways that
// share a server withhold batch at the same moment, without telling each other.
const (
	// DefaultBatchPrice is the part of the time for which batch is withheld from a
	// server at most.
	DefaultBatchPrice = 0.02
	// withholdLeast is how long live streams are counted in a window at least. Where
	// lines take longer to end it is as long as that, up to withholdMost.
	withholdLeast = 4 * time.Second
	withholdMost  = 15 * time.Second
	// withholdDrain bounds how long the end of the lines that run is waited for.
	withholdDrain = 30 * time.Second
	// withholdTail bounds how long the first bytes of streams that were dispatched
	// in a window are waited for: slow ones are to count too.
	withholdTail = 5 * time.Second
	// withholdRest is for how long nothing is a sample after a window: the lines
	// that were held back all come at once.
	withholdRest = 10 * time.Second
	// withholdStrides bounds by how much windows are rarer where they take long, as
	// a power of 2.
	withholdStrides = 6
)

// withholder is what the goroutine that withholds batch knows of a server.
type withholder struct {
	turn int64         // of the last window
	live int64         // live requests up to then
	cost time.Duration // of a window, an average; 0: not known
}

// withholdPeriod is how often there may be a window on one server, a power of 2 in
// seconds.
func withholdPeriod(part float64) time.Duration {
	seconds := (withholdLeast + time.Second).Seconds() / part
	return time.Duration(math.Exp2(math.Ceil(math.Log2(seconds)))) * time.Second
}

// windowStart is when the window of a turn begins.
func windowStart(url string, turn int64, period time.Duration) time.Time {
	return time.Unix(0, turn*int64(period)).Add(time.Duration(drawn(url, turn).Int64N(int64(period))))
}

// drawn returns a generator that is the same in all gateways.
func drawn(url string, turn int64) *rand.Rand {
	h := fnv.New64a()
	_, _ = h.Write([]byte(url)) // never fails
	return rand.New(rand.NewPCG(h.Sum64(), uint64(turn)))
}

// stride is every how many turns there is a window, so that windows take no more
// than a part of the time.
func (w *withholder) stride(part float64, period time.Duration) int64 {
	s := int64(1)
	for range withholdStrides {
		if float64(w.cost) <= part*float64(s)*float64(period) {
			break
		}
		s *= 2
	}
	return s
}

// next is the turn of the next window and when it begins. One that had to wait for
// another server's window may begin late.
func (w *withholder) next(url string, now time.Time, part float64, period time.Duration) (turn int64, at time.Time) {
	stride := w.stride(part, period)
	phase := drawn(url, -1).Int64N(math.MaxInt64)
	for turn = max(w.turn+1, now.Add(-period/8).UnixNano()/int64(period)-1); ; turn++ {
		at = windowStart(url, turn, period)
		if (turn+phase%stride)%stride == 0 && now.Sub(at) < period/8 {
			return turn, at
		}
	}
}

// measurePrice withholds batch from one server at a time until ctx ends.
func (p *Pool) measurePrice(ctx context.Context) {
	known := make(map[*upstream]*withholder)
	defer func() {
		for u := range known {
			u.spell.Store(nil)
		}
	}()
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-p.repriced:
		case <-timer.C:
		}
		u, turn, wait := p.nextWindow(known, time.Now())
		if u == nil || wait > 0 {
			timer.Reset(wait)
			continue
		}
		w := known[u]
		w.turn = turn
		p.window(ctx, u, w)
		timer.Reset(0)
	}
}

// priceRecheck bounds how long the next window is waited for: the clock may be set.
const priceRecheck = time.Minute

// nextWindow finds the server whose window is next, and how long that is to go.
func (p *Pool) nextWindow(known map[*upstream]*withholder, now time.Time) (next *upstream, turn int64, wait time.Duration) {
	s := p.now.Load()
	part := s.cfg.BatchPrice
	for u := range known {
		if part < 0 || !slices.Contains(s.upstreams, u) {
			u.spell.Store(nil)
			delete(known, u)
		}
	}
	wait = priceRecheck
	if part < 0 {
		return nil, 0, wait
	}
	period := withholdPeriod(part)
	for _, u := range s.upstreams {
		w := known[u]
		if w == nil {
			// The first window is not before there is something to compare it with.
			w = &withholder{turn: now.UnixNano() / int64(period), live: u.requests[Live].Load()}
			known[u] = w
			u.spell.Store(newSpell(spellWith))
		}
		t, at := w.next(u.url, now, part, period)
		if until := max(0, at.Sub(now)); until < wait {
			next, turn, wait = u, t, until
		}
	}
	return next, turn, wait
}

// windowOutcome is what came of a window, "" for samples.
type windowOutcome string

const (
	outcomeNoBatch windowOutcome = "no batch runs"
	outcomeNoLive  windowOutcome = "no live requests come"
	outcomeAway    windowOutcome = "its server is not up"
	outcomeOthers  windowOutcome = "other gateways' lines run on its servers all the time"
)

// outcomeSlow is for lines that do not end soon enough.
var outcomeSlow = windowOutcome("lines of batches take longer than " + withholdDrain.String() + " to end")

// window withholds batch from u once, if both classes are active there.
func (p *Pool) window(ctx context.Context, u *upstream, w *withholder) {
	live := u.requests[Live].Load()
	came := live > w.live
	w.live = live
	outcome := p.withholdable(u, came)
	if outcome == "" {
		began := time.Now()
		outcome = p.withhold(ctx, u, w)
		cost := time.Since(began)
		if w.cost == 0 {
			w.cost = cost
		}
		w.cost = (3*w.cost + cost) / 4
	}
	if ctx.Err() != nil {
		return
	}
	p.windowEnded(u, outcome)
}

// withholdable says why no window is worth it now, "" if it is.
func (p *Pool) withholdable(u *upstream, live bool) windowOutcome {
	p.mu.Lock()
	up := u.isUp() && !u.draining && u.suspicion == nil
	p.mu.Unlock()
	switch {
	case !up:
		return outcomeAway
	case !u.hasBatch():
		return outcomeNoBatch
	case !live || u.purpose() == ForBatch: // or few, which waited elsewhere too long
		return outcomeNoLive
	default:
		return ""
	}
}

// withhold withholds batch from u until live streams were counted without it.
func (p *Pool) withhold(ctx context.Context, u *upstream, w *withholder) windowOutcome {
	_, batch := u.counts()
	u.standIn.Store(int64(batch))
	u.spell.Store(newSpell(spellNone))
	u.withheld.Store(true)
	defer func() {
		u.withheld.Store(false)
		u.standIn.Store(0)
		rest := newSpell(spellNone)
		u.spell.Store(rest)
		time.AfterFunc(withholdRest, func() { u.spell.CompareAndSwap(rest, newSpell(spellWith)) })
		p.signal()
	}()
	began := time.Now()
	bound := time.NewTimer(withholdDrain)
	defer bound.Stop()
	for u.hasBatch() {
		select {
		case <-ctx.Done():
			return ""
		case <-bound.C:
			if _, own := u.counts(); own == 0 {
				return outcomeOthers
			}
			return outcomeSlow
		case <-u.presence.quiet:
		}
	}
	counted := newSpell(spellWithout)
	u.spell.Store(counted)
	if !pause(ctx, min(max(withholdLeast, time.Since(began)), withholdMost)) {
		return ""
	}
	u.spell.Store(newSpell(spellNone))
	tail := time.NewTimer(withholdTail)
	defer tail.Stop()
	for counted.waiting.Load() > 0 {
		select {
		case <-ctx.Done():
			return ""
		case <-tail.C:
			return ""
		case <-counted.landed:
		}
	}
	return ""
}

// windowEnded works out what the price is now.
func (p *Pool) windowEnded(u *upstream, outcome windowOutcome) {
	s := p.now.Load()
	servers := make(map[*upstream]bool, len(s.upstreams))
	for _, u := range s.upstreams {
		servers[u] = true
	}
	p.book.forget(servers, time.Now())
	if outcome != "" {
		p.book.close(u, false)
		p.book.note(s.modelsOf(u), outcome)
		if c := p.log.Check(zap.DebugLevel, "price of batch not measured"); c != nil {
			c.Write(zap.String("upstream", u.url), zap.String("reason", string(outcome)))
		}
		return
	}
	p.book.note(s.modelsOf(u), "")
	for _, model := range p.book.close(u, true) {
		p.book.work(model, s.cfg.BatchBudget)
	}
	p.mu.Lock()
	p.applyBudget()
	p.mu.Unlock()
	p.signal()
}

// modelsOf are the models that a server has.
func (s *snapshot) modelsOf(u *upstream) (models []string) {
	for model, at := range s.models {
		if slices.Contains(at.known, u) {
			models = append(models, model)
		}
	}
	return models
}
