package upstreams

import (
	"hash/maphash"
	"time"

	"go.uber.org/zap"
)

// Suspicion is a circuit breaker. Answers that are a server's own fault make it
// suspect: live requests go there only when no other server has their model,
// but for a trial now and then, and batch lines go there only as trials. A
// trial that is answered makes it up again. GET /health does not, as it
// succeeds on a server that refuses every request.

const (
	// trialFirst is when the first trial of a suspected upstream is due. It
	// doubles with every trial, up to trialMost.
	trialFirst = time.Second
	trialMost  = 10 * time.Second
	// suspectRow is how many faults in a row, without a good answer in
	// between, make an upstream suspect although it answered others meanwhile.
	suspectRow = 3
)

// suspicion is what an upstream's answers say against it. Pool.mu guards it.
type suspicion struct {
	reason  string
	last    time.Time     // of the last answer against it
	pause   time.Duration // to the next trial
	accuser uint64        // hash of the body of the request that was answered first
	several bool          // there were others
	hung    bool          // its engine stands still
}

var bodySeed = maphash.MakeSeed()

// age is the time since the upstream was configured.
func (u *upstream) age() int64 { return int64(time.Since(u.telemetry.begun)) }

// shut reports whether batch lines have to wait for the next trial, or for room
// on a server that answered that it is full.
func (u *upstream) shut() bool {
	gate, full := u.gate.Load(), u.full.until.Load()
	if gate == 0 && full == 0 {
		return false
	}
	now := u.age()
	return now < gate || now < full
}

// good takes note of an answer that the server gave to the request.
func (a *attempt) good() {
	u := a.up
	u.good.Add(1)
	if u.row.Load() != 0 {
		u.row.Store(0)
	}
	u.relieved(a.class)
	if u.gate.Load() != 0 {
		a.pool.absolve(u, a.begun)
	}
}

// absolve ends the suspicion against u: a request that was begun after the last
// answer against it was answered.
func (p *Pool) absolve(u *upstream, begun time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if u.suspicion == nil || begun.Before(u.suspicion.last) {
		return
	}
	u.clear()
	if u.state == StateSuspect {
		p.become(u, StateUp, "")
	}
	p.signal()
}

// clear forgets the suspicion. Pool.mu is held.
func (u *upstream) clear() {
	if u.suspicion != nil && u.suspicion.hung {
		u.remedy = ""
	}
	u.suspicion = nil
	u.gate.Store(0)
	u.row.Store(0)
	u.suspect.Store(false)
	u.hung.Store(false)
}

// accuse takes note of an answer that is an error. request is the request's
// body. It reports whether the request has to answer for it: others are
// answered meanwhile, or it alone gets such answers.
func (a *attempt) accuse(v verdict, s said, request []byte) (itsOwn bool) {
	u, p := a.up, a.pool
	switch v.blame {
	case blameNone, blameRequest, blameClient:
		return true
	case blamePassing:
		a.fault(s.status, v.reason)
		return true
	case blameModel:
		a.fault(s.status, v.reason)
		p.disown(u, a.model)
		return false
	case blameFull:
		a.fault(s.status, v.reason)
		p.saturated(u, retryAfterOf(s.header))
		if live, batch := u.counts(); live+batch > 1 || u.full.row.Load() < fullRow {
			return false
		}
		v.reason += " although nothing of this gateway runs there"
		p.suspected(a, v, request)
		return false
	case blameKey, blameEither, blameServer:
	}
	a.fault(s.status, v.reason)
	u.probeSoon()
	if row := u.row.Add(1); row < suspectRow && u.good.Load() != a.goodBefore {
		return v.blame != blameKey
	}
	alone := p.suspected(a, v, request)
	return alone && s.status >= 500 && v.blame != blameKey
}

// suspected makes an upstream suspect. It reports whether only this request, and
// not for the first time, got such answers since the last good one.
func (p *Pool) suspected(a *attempt, v verdict, request []byte) (alone bool) {
	u := a.up
	body := maphash.Bytes(bodySeed, request)
	p.mu.Lock()
	defer p.mu.Unlock()
	s := u.suspicion
	switch {
	case s == nil:
		s = &suspicion{pause: trialFirst, accuser: body}
		u.suspicion = s
		u.gate.Store(u.age() + int64(s.pause))
		time.AfterFunc(s.pause, p.signal)
	case s.accuser == body:
		alone = !s.several
	default:
		s.several = true
	}
	s.reason, s.last = v.reason, time.Now()
	u.suspect.Store(true)
	if u.isUp() {
		p.become(u, StateSuspect, v.reason)
	}
	return alone
}

// try claims the trial of a suspected upstream that is due. It is true as well
// for one that is not suspected any more.
func (p *Pool) try(u *upstream) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	s := u.suspicion
	if s == nil {
		return true
	}
	if u.age() < u.gate.Load() {
		return false
	}
	s.pause = min(2*s.pause, trialMost)
	u.gate.Store(u.age() + int64(s.pause))
	time.AfterFunc(s.pause, p.signal)
	if c := p.log.Check(zap.DebugLevel, "trial of a suspected upstream"); c != nil {
		c.Write(zap.String("upstream", u.url), zap.String("reason", s.reason))
	}
	return true
}

// trial returns a suspected upstream whose trial is due, if another one could
// take the request should it fail.
func (p *Pool) trial(at *served) *Candidate {
	var due *Candidate
	others := false
	for _, c := range at.up {
		switch gate := c.gate.Load(); {
		case !c.suspect.Load():
			others = true
		case gate != 0 && c.age() >= gate && !c.hung.Load() && // a live request would wait for long
			c.hasSeat(c.load.Load()):
			due = c
		}
	}
	if due == nil || !others || !p.try(due.upstream) {
		return nil
	}
	return due
}

// reasons says why the upstreams of a model are suspect.
func (p *Pool) reasons(at *served) string {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, c := range at.up {
		if s := c.suspicion; s != nil {
			return s.reason
		}
	}
	return ""
}
