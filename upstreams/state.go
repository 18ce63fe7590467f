package upstreams

import (
	"time"

	"go.uber.org/zap"
)

// State is what an upstream is.
type State string

// The states of an upstream.
const (
	StateLoading  State = "loading"  // not up yet, or it says that it is not ready
	StateUp       State = "up"       // it takes requests
	StateBusy     State = "busy"     // it takes requests, but its probes fail
	StateSuspect  State = "suspect"  // its answers are its own fault: it gets what no other can take, and trials
	StateDown     State = "down"     // it takes none
	StateDraining State = "draining" // up, but it is to get nothing new
)

// TakesRequests tells whether new requests may be sent to such an upstream.
func (s State) TakesRequests() bool { return s == StateUp || s == StateBusy || s == StateSuspect }

// States are all of them.
var States = []State{StateLoading, StateUp, StateBusy, StateSuspect, StateDown, StateDraining}

// become changes an upstream's state, and publishes that if it is another one.
// Pool.mu is held.
func (p *Pool) become(u *upstream, state State, reason string) (published bool) {
	if !state.TakesRequests() && u.suspicion != nil {
		u.clear() // when it is back, it is another process
	}
	if u.suspicion != nil {
		state, reason = StateSuspect, u.suspicion.reason
	}
	u.reason = reason
	if u.state == state {
		return false
	}
	if u.state == StateLoading && state == StateDown || u.state == StateDown && state == StateLoading {
		p.log.Debug("upstream "+string(state), zap.String("upstream", u.url), zap.String("reason", reason))
	} else if state == StateUp {
		p.log.Info("upstream up", zap.String("upstream", u.url), zap.Duration("after", time.Since(u.since)))
	} else {
		p.log.Warn("upstream "+string(state), zap.String("upstream", u.url), zap.String("reason", reason))
	}
	u.state, u.since = state, time.Now()
	p.publish()
	return true
}

// gone takes an upstream out at once: it refused a connection.
func (p *Pool) gone(u *upstream, cause error) {
	u.probeSoon()
	p.mu.Lock()
	defer p.mu.Unlock()
	if u.isUp() {
		p.become(u, StateDown, cause.Error())
	}
}

// doubt has an upstream explain itself: until the probe is over, others are
// preferred to it.
func (p *Pool) doubt(u *upstream) {
	u.suspect.Store(true)
	u.probeSoon()
}

// probeOK takes note of a good probe. Models come with the first one, with the
// first one after a failure, and now and then.
func (p *Pool) probeOK(u *upstream, found *discovery) {
	p.mu.Lock()
	defer p.mu.Unlock()
	u.probed, u.failed, u.loading = true, 0, false
	cleared := u.suspicion == nil && u.suspect.Swap(false)
	others := found != nil && !sameModels(u.models, found.models)
	if found != nil {
		u.told, u.version, u.models = true, found.version, found.models
	}
	// Models and state together: whoever hears of the models finds them served.
	if published := p.become(u, StateUp, ""); others && !published {
		p.publish()
	}
	if cleared {
		p.signal()
	}
}

// probeRefused takes note of a probe that was refused, or whose connection was
// broken: nobody is there.
func (p *Pool) probeRefused(u *upstream, cause error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	u.probed, u.loading = true, false
	p.become(u, p.notUp(u), cause.Error())
}

// probeBad takes note of a probe that timed out or was answered badly. alive
// says that requests got on meanwhile, loading that the server itself says that
// it is not ready.
func (p *Pool) probeBad(u *upstream, cause error, alive, loading bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	u.probed, u.loading = true, loading
	u.failed++
	if !u.isUp() {
		p.become(u, p.notUp(u), cause.Error())
		if u.failed >= p.cfg.HealthFailures && !alive {
			p.abortHung(u)
		}
		return
	}
	switch {
	case alive:
		u.failed = 0
		cleared := u.suspicion == nil && u.suspect.Swap(false)
		p.become(u, StateBusy, cause.Error())
		if cleared {
			p.signal()
		}
	case u.failed < p.cfg.HealthFailures || p.isLast(u):
		u.suspect.Store(true)
		p.become(u, StateBusy, cause.Error())
	default:
		p.become(u, p.notUp(u), cause.Error())
		p.abortHung(u)
	}
}

// notUp tells a server that loads from one that is down. Pool.mu is held.
func (p *Pool) notUp(u *upstream) State {
	if u.loading || !u.told && time.Since(u.added) < p.cfg.LoadTime {
		return StateLoading
	}
	return StateDown
}

// isLast tells whether u has a model that no other upstream serves now.
// Pool.mu is held.
func (p *Pool) isLast(u *upstream) bool {
	for i := range u.models {
		if !p.servedBeside(u, u.models[i].ID) {
			return true
		}
	}
	return false
}

// servedBeside tells whether another upstream than u takes requests for the
// model. Pool.mu is held.
func (p *Pool) servedBeside(u *upstream, model string) bool {
	for _, other := range p.upstreams {
		if other != u && other.isUp() && !other.draining && other.has(model) {
			return true
		}
	}
	return false
}

// abortHung takes the requests off a server that does nothing, if they have
// somewhere else to go. Pool.mu is held.
func (p *Pool) abortHung(u *upstream) {
	n := u.flights.abort(errHung, func(model string) bool { return p.servedBeside(u, model) })
	if n > 0 {
		p.log.Warn("requests taken off an upstream that hangs", zap.String("upstream", u.url), zap.Int("requests", n))
	}
}
