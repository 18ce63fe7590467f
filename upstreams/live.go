package upstreams

import (
	"errors"
	"net/http"
	"time"

	"go.uber.org/zap"

	"github.com/tidegate/tidegate/access/limits"
	"github.com/tidegate/tidegate/internal/descriptors"
	"github.com/tidegate/tidegate/internal/openai"
)

// live is one live request. It belongs to its handler's goroutine.
type live struct {
	proxy *Proxy
	w     http.ResponseWriter
	r     *http.Request
	route *route
	began time.Time
	id    []string // X-Request-Id
	body  *payload
	// withUsage is the body with a request for the usage of the stream; nil if the client
	// asks for it, or there is none.
	withUsage *payload
	header    http.Header // sent to upstreams
	query     Query
	stream    bool // the client requested a stream
	ticket    ticket

	tried     []*upstream
	triedRoom [8]*upstream
	last      *refusal // the error to return if no server answers better
	connected bool     // an attempt got a connection
	done      LiveRequest
	record    *modelRecord // nil for a model that no server has
	noServer  bool         // refused with 404 because the model's server is not available
	cutOff    bool         // the server aborted the answer

	grant   *limits.Grant // nil for a client without limits
	judged  bool          // the guardrail has rejected it
	arrived arrival
}

// forward tries the servers one after the other, each once.
func (l *live) forward() {
	l.tried = l.triedRoom[:0]
	for {
		s, at, complete := l.proxy.pool.lookupOrDiscover(l.r.Context(), l.query.Model)
		if at != nil {
			l.done.Model, l.record = l.query.Model, at.record
		}
		// A body that cannot be replayed is still complete if no server was reached.
		if at == nil || l.connected && !l.body.replayable() {
			l.refuseUnserved(at, complete)
			return
		}
		l.ticket.tried = l.tried
		c, full := l.proxy.pool.admit(s, &l.ticket)
		if full {
			var err error
			c, err = l.proxy.pool.wait(l.r.Context(), &l.ticket, at.record)
			l.done.Queued = l.ticket.waited
			if err != nil {
				l.refuseQueued(err)
				return
			}
			if c == nil {
				continue // the servers have changed
			}
			s = l.proxy.pool.now.Load()
		}
		if c == nil {
			l.refuseUnserved(at, complete)
			return
		}
		if len(l.tried) > 0 {
			l.done.Retries++
			l.proxy.pool.metrics.retries.Add(1)
		}
		l.tried = append(l.tried, c.upstream)
		if l.try(s, c.upstream) {
			return
		}
	}
}

// refuseQueued refuses a request that was queued and got no server.
func (l *live) refuseQueued(err error) {
	if l.r.Context().Err() != nil {
		l.done.Status = statusClientGone
		return
	}
	l.refuse(err)
}

// try sends the request to u, on which it is already counted as in flight, and relays
// the answer. It returns false if nothing was sent to the client and another server
// may be tried.
func (l *live) try(s *snapshot, u *upstream) (handled bool) {
	p := l.proxy.pool
	l.done.Upstream = u.url
	a := p.begin(l.r.Context(), u, l.query.Class, l.route.path, l.query.Model, l.body.replayable(), false)
	l.query.unreserve(u)
	l.pace(a)
	uncut := a.cancelAtEnd()
	defer func() {
		uncut()
		a.end()
		if l.done.Status == http.StatusOK && !l.done.Broken {
			a.answered(l.done.Usage, l.done.HasUsage, l.done.ITL)
		}
		if l.query.Class == Batch && l.done.Status == http.StatusOK {
			u.pace.endBatch()
		}
		p.endClass(u, l.query.Class)
	}()
	answer, got, asked, err := l.send(a)
	if answer == nil {
		return l.failed(a, err)
	}
	defer answer.Body.Close()
	if err != nil {
		return l.undecodable(a, answer, err)
	}
	if v := judge(got); v.blame != blameNone {
		return l.handleError(a, v, got)
	}
	switch {
	case isStream(answer.Header):
		return l.relayStream(s, a, answer, asked)
	case 0 <= answer.ContentLength && answer.ContentLength <= wholeAnswer:
		return l.relayWhole(a, answer)
	default:
		return l.relayParts(a, answer)
	}
}

// pace records the prompt that the server has to prefill for the request.
func (l *live) pace(a *attempt) {
	if !l.route.noEngine {
		a.setPrompt(l.record, l.query.Bytes, l.stream, l.query.Chain)
	}
}

// failed handles an attempt that failed before the client got a byte. It returns
// false if another server may be tried.
func (l *live) failed(a *attempt, err error) (handled bool) {
	if l.r.Context().Err() != nil {
		l.done.Status, l.arrived.left = statusClientGone, a.sent
		return true
	}
	if errors.Is(a.cause(), errEnding) {
		l.refuse(refusalAtEnd())
		return true
	}
	if fault := l.body.fault(); fault != nil {
		l.badBody(fault)
		return true
	}
	if cause := a.cause(); cause != nil {
		a.recordFailure(0, cause.Error())
		err = cause
	} else if l.proxy.pool.isOwnShortage(err) {
		// Another server could not be reached either.
		l.w.Header()["Connection"] = []string{"close"} // frees a descriptor
		l.refuse(exhausted(err))
		return true
	} else {
		a.failed(err)
	}
	if c := l.proxy.log.Check(zap.DebugLevel, "live request failed on an upstream"); c != nil {
		c.Write(zap.String("request", l.id[0]), zap.String("upstream", a.up.url), zap.Error(err))
	}
	return false
}

// refuseUnserved refuses a request that no server is left for. at and complete are
// results of lookup.
func (l *live) refuseUnserved(at *served, complete bool) {
	switch {
	case l.r.Context().Err() != nil:
		l.done.Status = statusClientGone
	case l.last != nil:
		l.noServer = l.last.verdict.blame == blameModel
		l.relayRefusal()
	case l.connected && (at == nil || len(at.up) > 0):
		l.refuse(openai.BadGateway("The model server broke the connection."))
	case at != nil:
		at.probeSoon()
		l.refuse(openai.Unavailable(retryAfter, "Every server of the model '%s' is down.", l.query.Model))
	default:
		l.record, l.noServer = l.proxy.pool.missingRecord(l.query.Model)
		l.refuse(notFound(l.query.Model, complete))
	}
}

// notFound returns the error for a model that no upstream has reported.
func notFound(model string, complete bool) *openai.Error {
	if !complete {
		return openai.Unavailable(retryAfter, "The model '%s' is not served yet; servers are still loading.", clip(model))
	}
	return openai.ModelNotFound(clip(model))
}

// exhausted returns the error for a request that the gateway cannot send because it
// lacks a resource.
func exhausted(err error) *openai.Error {
	resource, _ := descriptors.Shortage(err)
	return openai.Unavailable(retryAfter, "The gateway is out of %s.", resource).WithCause(err)
}

// clip limits the length of a name that is repeated in an answer.
func clip(name string) string { return name[:min(len(name), maxModelName)] }

// finish records the end of the request.
func (l *live) finish() {
	if l.done.Status == statusClientGone {
		l.w.WriteHeader(statusClientGone) // otherwise net/http would log 200
	}
	now := time.Now()
	l.done.Duration = now.Sub(l.began)
	l.estimateUsage()
	l.recordOutcome(now)
	l.proxy.pool.metrics.observe(l.route, &l.done)
	if l.proxy.record != nil {
		l.proxy.record(l.r.Context(), l.done)
	}
	l.endLimits() // last, so that budgets have its use before its reservation ends
}

// abort closes the connection so that the client does not mistake the answer for a
// complete one.
func (l *live) abort(a *attempt, err error) {
	l.done.Broken = true
	if l.r.Context().Err() == nil {
		l.cutOff = true
		if a.cause() == nil {
			a.failed(err)
		}
		if c := l.proxy.log.Check(zap.WarnLevel, "answer cut off"); c != nil {
			c.Write(zap.String("request", l.id[0]), zap.String("upstream", a.up.url), zap.Error(err))
		}
	}
	panic(http.ErrAbortHandler)
}
