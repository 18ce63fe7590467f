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

// Withholding: from time to time no batch line is sent to one server, and once the
// last line there has ended, live streams that are dispatched to it are samples
// without batch. Times in which no batch line happens to run are not used: they occur
// when live requests take all slots, or when there is no work, and are not
// representative. Only windows that begin at random are.
//
// The start of a window is derived from the server's URL and the time: gateways that
// share a server withhold batch at the same time without communicating.
const (
	// DefaultBatchPrice is the maximum part of the time for which batch is withheld
	// from a server.
	DefaultBatchPrice = 0.02
	// withholdLeast is the minimum time for which live streams are sampled in a
	// window. If lines take longer to end it is extended to that time, up to
	// withholdMost.
	withholdLeast = 4 * time.Second
	withholdMost  = 15 * time.Second
	// withholdDrain limits the wait for the end of the running lines.
	withholdDrain = 30 * time.Second
	// withholdTail limits the wait for the first bytes of streams that were dispatched
	// in a window, so that slow streams are sampled, too.
	withholdTail = 5 * time.Second
	// withholdRest is the time without samples after a window, because the lines that
	// were held back are all sent at once.
	withholdRest = 10 * time.Second
	// withholdStrides limits, as a power of 2, by how much windows are rarer if they
	// take long.
	withholdStrides = 6
)

// withholder is the state of the withholding goroutine for one server.
type withholder struct {
	turn int64         // live requests until the last window
	live int64         // average duration of a window; 0: not known
	cost time.Duration // of a window, an average; 0: not known
}

// withholdPeriod returns the period of windows on one server, a power of 2 in
// seconds.
func withholdPeriod(part float64) time.Duration {
	seconds := (withholdLeast + time.Second).Seconds() / part
	return time.Duration(math.Exp2(math.Ceil(math.Log2(seconds)))) * time.Second
}

// windowStart returns when the window of a turn begins.
func windowStart(url string, turn int64, period time.Duration) time.Time {
	return time.Unix(0, turn*int64(period)).Add(time.Duration(drawn(url, turn).Int64N(int64(period))))
}

// drawn returns a random generator that is the same in all gateways.
func drawn(url string, turn int64) *rand.Rand {
	h := fnv.New64a()
	_, _ = h.Write([]byte(url)) // never fails
	return rand.New(rand.NewPCG(h.Sum64(), uint64(turn)))
}

// stride returns the interval between windows in turns, so that windows take no more
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

// next returns the turn of the next window and when it begins. It may begin late if
// it had to wait for another server's window.
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
			u.phase.Store(nil)
		}
	}()
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-p.priceConfigChanged:
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

// priceRecheck limits the wait for the next window: the clock may be adjusted.
const priceRecheck = time.Minute

// nextWindow returns the server whose window is next, and the time until it begins.
func (p *Pool) nextWindow(known map[*upstream]*withholder, now time.Time) (next *upstream, turn int64, wait time.Duration) {
	s := p.now.Load()
	part := s.cfg.BatchPrice
	for u := range known {
		if part < 0 || !slices.Contains(s.upstreams, u) {
			u.phase.Store(nil)
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
			// The first window must be preceded by a time with batch to compare it with.
			w = &withholder{turn: now.UnixNano() / int64(period), live: u.requests[Live].Load()}
			known[u] = w
			u.phase.Store(newPhase(phaseWith))
		}
		t, at := w.next(u.url, now, part, period)
		if until := max(0, at.Sub(now)); until < wait {
			next, turn, wait = u, t, until
		}
	}
	return next, turn, wait
}

// windowOutcome is the reason why a window had no result, "" if it had one.
type windowOutcome string

const (
	outcomeNoBatch windowOutcome = "no batch runs"
	outcomeNoLive  windowOutcome = "no live requests come"
	outcomeAway    windowOutcome = "the model's server is not up"
	outcomeOthers  windowOutcome = "other gateways' lines run on its servers all the time"
)

// outcomeSlow reports that lines do not end soon enough.
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

// withholdable returns why a window would have no result now, "" if it may have one.
func (p *Pool) withholdable(u *upstream, live bool) windowOutcome {
	p.mu.Lock()
	up := u.isUp() && !u.draining && u.breaker == nil
	p.mu.Unlock()
	switch {
	case !up:
		return outcomeAway
	case !u.hasBatch():
		return outcomeNoBatch
	case !live || u.placement() == ForBatch: // those few were sent there because other servers were slower
		return outcomeNoLive
	default:
		return ""
	}
}

// withhold withholds batch from u until live streams were sampled without it.
func (p *Pool) withhold(ctx context.Context, u *upstream, w *withholder) windowOutcome {
	_, batch := u.counts()
	u.withheldLoad.Store(int64(batch))
	u.phase.Store(newPhase(phaseNone))
	u.withheld.Store(true)
	defer func() {
		u.withheld.Store(false)
		u.withheldLoad.Store(0)
		rest := newPhase(phaseNone)
		u.phase.Store(rest)
		time.AfterFunc(withholdRest, func() { u.phase.CompareAndSwap(rest, newPhase(phaseWith)) })
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
		case <-u.batchActivity.idle:
		}
	}
	counted := newPhase(phaseWithout)
	u.phase.Store(counted)
	if !pause(ctx, min(max(withholdLeast, time.Since(began)), withholdMost)) {
		return ""
	}
	u.phase.Store(newPhase(phaseNone))
	tail := time.NewTimer(withholdTail)
	defer tail.Stop()
	for counted.waiting.Load() > 0 {
		select {
		case <-ctx.Done():
			return ""
		case <-tail.C:
			return ""
		case <-counted.drained:
		}
	}
	return ""
}

// windowEnded updates the price after a window.
func (p *Pool) windowEnded(u *upstream, outcome windowOutcome) {
	s := p.now.Load()
	servers := make(map[*upstream]bool, len(s.upstreams))
	for _, u := range s.upstreams {
		servers[u] = true
	}
	p.book.forget(servers, time.Now())
	if outcome != "" {
		p.book.close(u, false)
		p.book.setOutcome(s.modelsOf(u), outcome)
		if c := p.log.Check(zap.DebugLevel, "price of batch not measured"); c != nil {
			c.Write(zap.String("upstream", u.url), zap.String("reason", string(outcome)))
		}
		return
	}
	p.book.setOutcome(s.modelsOf(u), "")
	for _, model := range p.book.close(u, true) {
		p.book.updatePrice(model, s.cfg.BatchBudget)
	}
	p.mu.Lock()
	p.applyBudget()
	p.mu.Unlock()
	p.signal()
}

// modelsOf returns the models that a server has.
func (s *snapshot) modelsOf(u *upstream) (models []string) {
	for model, at := range s.models {
		if slices.Contains(at.known, u) {
			models = append(models, model)
		}
	}
	return models
}
