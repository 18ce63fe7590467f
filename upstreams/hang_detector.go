package upstreams

import (
	"fmt"
	"math"
	"time"

	"go.uber.org/zap"
)

const (
	// hungAfter is the time without progress after which an engine with requests hangs. It is longer
	// than one step with the longest prompts, and short enough to detect a hang within
	// 15 s of the last step, with probes every 5 s.
	hungAfter = 8 * time.Second
	// hungSamples is the minimum number of consecutive samples without progress: a
	// gateway that was suspended itself has few.
	hungSamples = 4
)

// hungRemedy is the remedy for an engine that hangs.
const hungRemedy = "Check the server's log and its GPUs, and restart it if it does not continue."

// engineFigures are the metrics of a server's engine, as opposed to its HTTP server:
// they change with every engine step. A prompt that is prefilled in several steps
// counts no token before the last one, but increases the use of the KV cache.
type engineFigures struct {
	running, waiting, preempts, tokens, steps, queried, kvCache float64
}

// hangDetector detects an engine that hangs: requests run or wait in it, or were sent
// to it, and no metric changes, although GET /health succeeds. Sent requests count
// because vLLM counts a request only after the first engine step with it. It is used
// by one goroutine.
type hangDetector struct {
	last    engineFigures
	done    uint64    // progress of this gateway's requests
	since   time.Time // of the first sample with these metrics; zero: no requests
	samples int
	found   bool // a hang was detected, and there was no progress since
}

// ownLoad is the load of this gateway on a server.
type ownLoad struct {
	inFlight int
	awaited  int    // of these, requests that were sent completely and have no answer yet
	progress uint64 // a counter of the server's answers
}

// observe records a sample of the server's metrics and of this gateway's load. It
// returns how long the engine has made no progress. Unchanged metrics of a server
// without requests of this gateway are ignored, unless a hang was detected before.
func (s *hangDetector) observe(at time.Time, g gauges, own ownLoad) time.Duration {
	figures := g.engine()
	busy := g.present && g.hasTokens && (g.running+g.waiting > 0 || own.awaited > 0) && (own.inFlight > 0 || s.found)
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

// checkHang makes u suspect if its engine hangs, and reverts that when it makes
// progress again. It reports whether the engine may be hanging, so that it is sampled
// again soon.
func (p *Pool) checkHang(u *upstream) (perhaps bool) {
	live, batch := u.counts()
	own := ownLoad{live + batch, u.flights.awaited(), u.progress.Load()}
	p.mu.Lock()
	defer p.mu.Unlock()
	g := u.gauges
	still := u.hangDetector.observe(time.Now(), g, own)
	switch was := u.breaker != nil && u.breaker.hung; {
	case u.hangDetector.found:
		p.markHung(u, max(int(g.running+g.waiting), own.awaited), own.inFlight > 0)
	case was && g.present:
		p.log.Info("engine of an upstream makes progress again", zap.String("upstream", u.url))
		u.resetBreaker()
		if u.state == StateSuspect {
			p.become(u, StateUp, "")
		}
		p.signal()
	}
	return still > 0
}

// markHung records that the engine of u hangs. Requests without an answer are retried
// on another server of their model, if there is one. When none of this gateway's
// requests is left there, a line is sent as a trial from time to time: the metrics
// may be stalled although the engine is not. Pool.mu is held.
func (p *Pool) markHung(u *upstream, requests int, ours bool) {
	if u.breaker == nil || !u.breaker.hung {
		u.breaker = &breaker{hung: true, trialDelay: trialDelayMax, last: time.Now(), reason: fmt.Sprintf(
			"its engine hangs: no progress since %s with any of its requests (%d)",
			u.hangDetector.since.UTC().Format(time.TimeOnly+" MST"), requests)}
		u.remedy = hungRemedy
		u.suspect.Store(true)
		u.hung.Store(true)
		u.trialAt.Store(math.MaxInt64)
		if u.isUp() {
			p.become(u, StateSuspect, u.breaker.reason)
		}
	}
	switch gate := u.trialAt.Load(); {
	case ours:
		u.trialAt.Store(math.MaxInt64)
	case gate == math.MaxInt64:
		u.trialAt.Store(u.age() + int64(u.breaker.trialDelay))
		time.AfterFunc(u.breaker.trialDelay, p.signal)
	}
	p.abortHung(u)
}
