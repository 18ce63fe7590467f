package upstreams

import (
	"fmt"
	"math"
	"time"

	"go.uber.org/zap"
)

const (
	// hungAfter is how long an engine with requests may stand still. It is above
	// the time of one step with the longest prompts, and low enough to be found
	// within 15 s of the last step, with probes every 5 s.
	hungAfter = 8 * time.Second
	// hungSamples is how many samples in a row must show it: a gateway that was
	// stopped itself has few.
	hungSamples = 4
)

// engineFigures are what the engine of a server says of itself, as opposed to its
// HTTP server: they change with every step of the engine. A prompt that is read in
// several steps counts no token before the last of them, but fills the KV cache.
type engineFigures struct {
	running, waiting, preempts, tokens, steps, queried, kvCache float64
}

// stillness finds an engine that hangs: requests run or wait there, or were sent
// there, and nothing changes, although GET /health says that all is well. What was
// sent counts as well because vLLM tells of a request only once its engine has made
// a step with it. It is used by one goroutine.
type stillness struct {
	last    engineFigures
	done    uint64    // progress of this gateway's requests
	since   time.Time // of the first sample with these figures; zero: no requests
	samples int
}

// step takes a sample: what the server says, how many requests of this gateway it
// was sent and has not begun to answer, and a counter of what it answers. It returns
// for how long the engine has been standing still.
func (s *stillness) step(at time.Time, g gauges, awaited int, progress uint64) time.Duration {
	figures := g.engine()
	busy := g.told && g.counted && (g.running+g.waiting > 0 || awaited > 0)
	switch {
	case !busy:
		s.since, s.samples = time.Time{}, 0
		return 0
	case s.since.IsZero() || figures != s.last || progress != s.done:
		s.last, s.done, s.since, s.samples = figures, progress, at, 1
		return 0
	}
	s.samples++
	return at.Sub(s.since)
}

// hung reports whether the engine has been standing still for too long.
func (s *stillness) hung(still time.Duration) bool {
	return still >= hungAfter && s.samples >= hungSamples
}

// sampleStillness makes u suspect if its engine hangs, and takes that back when it
// goes on. It reports whether the engine may be hanging: then it is looked at
// again soon.
func (p *Pool) sampleStillness(u *upstream) (perhaps bool) {
	progress, awaited := u.progress.Load(), u.flights.awaited()
	p.mu.Lock()
	defer p.mu.Unlock()
	g := u.gauges
	still := u.stillness.step(time.Now(), g, awaited, progress)
	switch was := u.suspicion != nil && u.suspicion.hung; {
	case u.stillness.hung(still):
		p.hangs(u, max(int(g.running+g.waiting), awaited))
	case was && still == 0 && g.told:
		p.log.Info("engine of an upstream goes on", zap.String("upstream", u.url))
		u.clear()
		if u.state == StateSuspect {
			p.become(u, StateUp, "")
		}
		p.signal()
	}
	return still > 0
}

// hangs takes note that the engine of u stands still. Batch lines and trials stay
// away until it goes on; requests that have had no answer yet go to another server
// of their model, if there is one. Pool.mu is held.
func (p *Pool) hangs(u *upstream, requests int) {
	if u.suspicion == nil || !u.suspicion.hung {
		u.suspicion = &suspicion{hung: true, last: time.Now(), reason: fmt.Sprintf(
			"its engine hangs: no progress since %s with any of its requests (%d)",
			u.stillness.since.UTC().Format(time.TimeOnly+" MST"), requests)}
		u.gate.Store(math.MaxInt64)
		u.suspect.Store(true)
		if u.isUp() {
			p.become(u, StateSuspect, u.suspicion.reason)
		}
	}
	p.abortHung(u)
}
