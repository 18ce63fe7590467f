package upstreams

import (
	"time"

	"go.uber.org/zap"
)

// State is the state of an upstream.
type State string

// The states of an upstream.
const (
	StateLoading  State = "loading"  // not up yet, or it reports that it is not ready
	StateUp       State = "up"       // it accepts requests
	StateBusy     State = "busy"     // it accepts requests, but its probes fail
	StateSuspect  State = "suspect"  // its circuit breaker is open: it gets requests that no other server can serve, and trials
	StateDown     State = "down"     // it accepts no requests
	StateAway     State = "away"     // it may be stopped (UpstreamConfig.ScaleToZero), and nothing listens
	StateDraining State = "draining" // up, but drained by an operator
)

// TakesRequests reports whether new requests may be sent to an upstream in this
// state.
func (s State) TakesRequests() bool { return s == StateUp || s == StateBusy || s == StateSuspect }

// States lists all states.
var States = []State{StateLoading, StateUp, StateBusy, StateSuspect, StateDown, StateAway, StateDraining}

// become sets an upstream's state, and publishes a snapshot if it changed. Pool.mu is
// held.
func (p *Pool) become(u *upstream, state State, reason string) (published bool) {
	if !state.TakesRequests() && u.breaker != nil {
		u.resetBreaker() // after a recovery it is a new process
	}
	if u.breaker != nil {
		state, reason = StateSuspect, u.breaker.reason
	}
	if !state.TakesRequests() {
		u.prefixes.Clear()
		u.usage.forget()
	}
	u.reason = reason
	if u.state == state {
		return false
	}
	if u.state == StateLoading && state == StateDown || u.state == StateDown && state == StateLoading {
		p.log.Debug("upstream state changed", zap.String("upstream", u.url), zap.String("state", string(state)), zap.String("reason", reason))
	} else if state == StateUp || state == StateAway {
		p.log.Info("upstream state changed", zap.String("upstream", u.url), zap.String("state", string(state)), zap.Duration("after", time.Since(u.since)))
	} else {
		p.log.Warn("upstream state changed", zap.String("upstream", u.url), zap.String("state", string(state)), zap.String("reason", reason))
	}
	u.state, u.since = state, time.Now()
	p.publish()
	return true
}

// markDown marks an upstream down immediately, because it refused a connection.
func (p *Pool) markDown(u *upstream, cause error) {
	u.probeSoon()
	p.mu.Lock()
	defer p.mu.Unlock()
	if u.isUp() {
		p.become(u, u.stopped(StateDown), cause.Error())
	}
}

// mayBeStopped reports whether the server may be stopped.
func (u *upstream) mayBeStopped() bool { return u.scaleToZero.Load() }

// stopped returns StateAway for a server that may be stopped, and state for others.
func (u *upstream) stopped(state State) State {
	if u.mayBeStopped() {
		return StateAway
	}
	return state
}

// markSuspect makes an upstream suspect until the result of an immediate probe: until
// then other upstreams are preferred.
func (p *Pool) markSuspect(u *upstream) {
	u.suspect.Store(true)
	u.probeSoon()
}

// probeOK records a successful probe. found is set at the first success, at the first
// one after a failure, and then every Config.ModelsInterval.
func (p *Pool) probeOK(u *upstream, found *discovery) {
	p.mu.Lock()
	defer p.mu.Unlock()
	u.probed, u.failed, u.loading = true, 0, false
	cleared := u.breaker == nil && u.suspect.Swap(false)
	others := found != nil && !sameModels(u.models, found.models)
	if found != nil {
		u.discovered, u.version, u.models = true, found.version, found.models
	}
	// Models and state are published together: a model that becomes visible is served.
	if published := p.become(u, StateUp, ""); others && !published {
		p.publish()
	}
	if cleared {
		p.signal()
	}
}

// probeRefused records a probe whose connection was refused or broken: no server is
// running.
func (p *Pool) probeRefused(u *upstream, cause error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	u.probed, u.loading = true, false
	p.become(u, u.stopped(p.notUp(u)), cause.Error())
}

// probeBad records a probe that timed out or failed. alive reports whether requests
// made progress during the probe, loading whether the server reports that it is not
// ready.
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
		cleared := u.breaker == nil && u.suspect.Swap(false)
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

// notUp returns whether a server that is not up is loading or down. Pool.mu is held.
func (p *Pool) notUp(u *upstream) State {
	if u.loading || !u.discovered && time.Since(u.added) < p.cfg.LoadTime {
		return StateLoading
	}
	return StateDown
}

// isLast reports whether u has a model that no other upstream serves now. Pool.mu is
// held.
func (p *Pool) isLast(u *upstream) bool {
	for i := range u.models {
		if !p.servedBeside(u, u.models[i].ID) {
			return true
		}
	}
	return false
}

// servedBeside reports whether another upstream than u accepts requests for the
// model. Pool.mu is held.
func (p *Pool) servedBeside(u *upstream, model string) bool {
	for _, other := range p.upstreams {
		if other != u && other.isUp() && !other.draining && other.has(model) {
			return true
		}
	}
	return false
}

// abortHung cancels the requests on a hung server that can be retried on another one.
// Pool.mu is held.
func (p *Pool) abortHung(u *upstream) {
	n := u.flights.abort(errHung, func(model string) bool { return p.servedBeside(u, model) })
	if n > 0 {
		p.log.Warn("requests cancelled on an upstream that hangs", zap.String("upstream", u.url), zap.Int("requests", n))
	}
}
