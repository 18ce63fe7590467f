package upstreams

import (
	"hash/maphash"
	"time"

	"go.uber.org/zap"
)

// Circuit breaker: answers that are a server's own fault make it suspect. Live
// requests are then sent there only if no other server has their model, except for
// occasional trials, and batch lines only as trials. A successful trial closes the
// circuit breaker. GET /health does not, because it succeeds on a server that refuses
// every request.

const (
	// trialDelayMin is the delay before the first trial of a suspect upstream. It
	// doubles with every trial, up to trialDelayMax.
	trialDelayMin = time.Second
	trialDelayMax = 10 * time.Second
	// suspectFaults is the number of consecutive faults, without a good answer in
	// between, that make an upstream suspect although it answered other requests
	// meanwhile.
	suspectFaults = 3
)

// breaker is the open circuit breaker of an upstream. Pool.mu guards it.
type breaker struct {
	reason      string
	last        time.Time     // of the last fault
	trialDelay  time.Duration // before the next trial
	firstBody   uint64        // hash of the body of the request that failed first
	otherBodies bool          // other requests failed, too
	hung        bool          // its engine hangs
}

var bodySeed = maphash.MakeSeed()

// age returns the time since the upstream was configured.
func (u *upstream) age() int64 { return int64(time.Since(u.telemetry.begun)) }

// closedToBatch reports whether batch lines have to wait for the next trial, or for
// the backoff of a server that answered that it is full.
func (u *upstream) closedToBatch() bool {
	gate, full := u.trialAt.Load(), u.saturation.until.Load()
	if gate == 0 && full == 0 {
		return false
	}
	now := u.age()
	return now < gate || now < full
}

// succeeded records a good answer.
func (a *attempt) succeeded() {
	u := a.up
	u.goodAnswers.Add(1)
	if u.faultsInRow.Load() != 0 {
		u.faultsInRow.Store(0)
	}
	u.relieved(a.class)
	if u.trialAt.Load() != 0 {
		a.pool.closeBreaker(u, a.begun)
	}
}

// closeBreaker closes the circuit breaker of u, because a request that began after
// the last fault was answered.
func (p *Pool) closeBreaker(u *upstream, begun time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if u.breaker == nil || begun.Before(u.breaker.last) {
		return
	}
	u.resetBreaker()
	if u.state == StateSuspect {
		p.become(u, StateUp, "")
	}
	p.signal()
}

// resetBreaker closes the circuit breaker without publishing it. Pool.mu is held.
func (u *upstream) resetBreaker() {
	if u.breaker != nil && u.breaker.hung {
		u.remedy = ""
	}
	u.breaker = nil
	u.trialAt.Store(0)
	u.faultsInRow.Store(0)
	u.suspect.Store(false)
	u.hung.Store(false)
}

// recordError records an answer that is an error. request is the request's body. It
// reports whether the request is the likely cause: other requests succeed meanwhile,
// or it alone gets such answers.
func (a *attempt) recordError(v verdict, s reply, request []byte) (itsOwn bool) {
	u, p := a.up, a.pool
	switch v.blame {
	case blameNone, blameRequest, blameClient:
		return true
	case blamePassing:
		a.recordFailure(s.status, v.reason)
		return true
	case blameModel:
		a.recordFailure(s.status, v.reason)
		p.markModelMissing(u, a.model)
		return false
	case blameFull:
		a.recordFailure(s.status, v.reason)
		p.saturated(u, retryAfterOf(s.header))
		if live, batch := u.counts(); live+batch > 1 || u.saturation.fullInRow.Load() < fullRow {
			return false
		}
		v.reason += " although nothing of this gateway runs there"
		p.openBreaker(a, v, request)
		return false
	case blameKey, blameEither, blameServer:
	}
	a.recordFailure(s.status, v.reason)
	u.probeSoon()
	if row := u.faultsInRow.Add(1); row < suspectFaults && u.goodAnswers.Load() != a.goodBefore {
		return v.blame != blameKey
	}
	alone := p.openBreaker(a, v, request)
	return alone && s.status >= 500 && v.blame != blameKey
}

// openBreaker makes an upstream suspect. It reports whether only this request, and
// repeatedly, got such answers since the last good one.
func (p *Pool) openBreaker(a *attempt, v verdict, request []byte) (alone bool) {
	u := a.up
	body := maphash.Bytes(bodySeed, request)
	p.mu.Lock()
	defer p.mu.Unlock()
	s := u.breaker
	switch {
	case s == nil:
		s = &breaker{trialDelay: trialDelayMin, firstBody: body}
		u.breaker = s
		u.trialAt.Store(u.age() + int64(s.trialDelay))
		time.AfterFunc(s.trialDelay, p.signal)
	case s.firstBody == body:
		alone = !s.otherBodies
	default:
		s.otherBodies = true
	}
	s.reason, s.last = v.reason, time.Now()
	u.suspect.Store(true)
	if u.isUp() {
		p.become(u, StateSuspect, v.reason)
	}
	return alone
}

// claimTrial claims the trial of a suspect upstream if it is due. It returns true as
// well if the upstream is no longer suspect.
func (p *Pool) claimTrial(u *upstream) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	s := u.breaker
	if s == nil {
		return true
	}
	if u.age() < u.trialAt.Load() {
		return false
	}
	s.trialDelay = min(2*s.trialDelay, trialDelayMax)
	u.trialAt.Store(u.age() + int64(s.trialDelay))
	time.AfterFunc(s.trialDelay, p.signal)
	if c := p.log.Check(zap.DebugLevel, "trial of a suspected upstream"); c != nil {
		c.Write(zap.String("upstream", u.url), zap.String("reason", s.reason))
	}
	return true
}

// trial returns a suspect upstream whose trial is due, if another upstream could
// serve the request should the trial fail.
func (p *Pool) trial(at *served) *Candidate {
	var due *Candidate
	others := false
	for _, c := range at.up {
		switch gate := c.trialAt.Load(); {
		case !c.suspect.Load():
			others = true
		case gate != 0 && c.age() >= gate && !c.hung.Load() && // a live request would wait for long
			c.hasLiveSlot(c.load.Load()):
			due = c
		}
	}
	if due == nil || !others || !p.claimTrial(due.upstream) {
		return nil
	}
	return due
}

// reasons returns why the upstreams of a model are suspect.
func (p *Pool) reasons(at *served) string {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, c := range at.up {
		if s := c.breaker; s != nil {
			return s.reason
		}
	}
	return ""
}
