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

// hungRemedy is what to do about an engine that hangs.
const hungRemedy = "Look at the server's log and at its GPUs, and restart it if it does not go on."

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
	found   bool // it was found to stand still, and has not gone on
}

// ownLoad is what this gateway has on a server.
type ownLoad struct {
	inFlight int
	awaited  int    // of these, what the server has not begun to answer and only it is waited for
	progress uint64 // a counter of what the server answers
}

// step takes a sample: what the server says, and what this gateway has there. It
// returns for how long the engine has been standing still. Figures that do not
// change say nothing of a server that has no request of this gateway, unless it was
// found to hang before.
func (s *stillness) step(at time.Time, g gauges, own ownLoad) time.Duration {
	figures := g.engine()
	busy := g.told && g.counted && (g.running+g.waiting > 0 || own.awaited > 0) && (own.inFlight > 0 || s.found)
	switch {
	case !busy:
		s.since, s.samples, s.found = time.Time{}, 0, false
		return 0
	case s.since.IsZero() || figures != s.last || own.progress != s.done:
		s.last, s.done, s.since, s.samples, s.found = figures, own.progress, at, 1, false
		return 0
	}
	s.samples++
	still := at.Sub(s.since)
	s.found = s.found || still >= hungAfter && s.samples >= hungSamples
	return still
}

// sampleStillness makes u suspect if its engine hangs, and takes that back when it
// goes on. It reports whether the engine may be hanging: then it is looked at
// again soon.
func (p *Pool) sampleStillness(u *upstream) (perhaps bool) {
	live, batch := u.counts()
	own := ownLoad{live + batch, u.flights.awaited(), u.progress.Load()}
	p.mu.Lock()
	defer p.mu.Unlock()
	g := u.gauges
	still := u.stillness.step(time.Now(), g, own)
	switch was := u.suspicion != nil && u.suspicion.hung; {
	case u.stillness.found:
		p.hangs(u, max(int(g.running+g.waiting), own.awaited), own.inFlight > 0)
	case was && g.told:
		p.log.Info("engine of an upstream goes on", zap.String("upstream", u.url))
		u.clear()
		if u.state == StateSuspect {
			p.become(u, StateUp, "")
		}
		p.signal()
	}
	return still > 0
}

// hangs takes note that the engine of u stands still. Requests that have had no
// answer yet go to another server of their model, if there is one. When none of this
// gateway's are left there, a line is sent as a trial now and then: the figures may
// stand although the engine does not. Pool.mu is held.
func (p *Pool) hangs(u *upstream, requests int, ours bool) {
	if u.suspicion == nil || !u.suspicion.hung {
		u.suspicion = &suspicion{hung: true, pause: trialMost, last: time.Now(), reason: fmt.Sprintf(
			"its engine hangs: no progress since %s with any of its requests (%d)",
			u.stillness.since.UTC().Format(time.TimeOnly+" MST"), requests)}
		u.remedy = hungRemedy
		u.suspect.Store(true)
		u.hung.Store(true)
		u.gate.Store(math.MaxInt64)
		if u.isUp() {
			p.become(u, StateSuspect, u.suspicion.reason)
		}
	}
	switch gate := u.gate.Load(); {
	case ours:
		u.gate.Store(math.MaxInt64)
	case gate == math.MaxInt64:
		u.gate.Store(u.age() + int64(u.suspicion.pause))
		time.AfterFunc(u.suspicion.pause, p.signal)
	}
	p.abortHung(u)
}
