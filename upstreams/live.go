package upstreams

import (
	"net/http"
	"time"

	"go.uber.org/zap"

	"github.com/tidegate/tidegate/internal/descriptors"
	"github.com/tidegate/tidegate/internal/openai"
)

// live is one live request. It belongs to its handler's goroutine.
type live struct {
	proxy  *Proxy
	w      http.ResponseWriter
	r      *http.Request
	route  *route
	began  time.Time
	id     []string // X-Request-Id
	body   *payload
	header http.Header // for upstreams
	query  Query
	stream bool // the client asked for a stream
	ticket ticket

	tried     []*upstream
	triedRoom [8]*upstream
	last      *refusal // the error for when no server answers better
	connected bool     // an attempt got as far as a connection
	done      LiveRequest
	record    *modelRecord // nil for a model that no server has
	noServer  bool         // refused with 404 because the model's server is away
	cutOff    bool         // the server broke the answer off
}

// forward tries one server after the other, each once.
func (l *live) forward() {
	l.tried = l.triedRoom[:0]
	for {
		s, at, settled := l.proxy.pool.seek(l.r.Context(), l.query.Model)
		if at != nil {
			l.done.Model, l.record = l.query.Model, at.record
		}
		// A body that cannot be sent twice may still be whole: nobody was there
		// to read of it.
		if at == nil || l.connected && !l.body.replayable() {
			l.giveUp(at, settled)
			return
		}
		l.ticket.tried = l.tried
		c, full := l.proxy.pool.admit(s, &l.ticket)
		if full {
			var err error
			c, err = l.proxy.pool.wait(l.r.Context(), &l.ticket, at.record)
			l.done.Queued = l.ticket.waited
			if err != nil {
				l.turnedAway(err)
				return
			}
			if c == nil {
				continue // the servers have changed
			}
			s = l.proxy.pool.now.Load()
		}
		if c == nil {
			l.giveUp(at, settled)
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

// turnedAway answers a request that got no server out of the queue.
func (l *live) turnedAway(err error) {
	if l.r.Context().Err() != nil {
		l.done.Status = statusClientGone
		return
	}
	l.refuse(err)
}

// try sends the request to u, on which it is counted as in flight, and relays the
// answer. It is false when nothing reached the client and another server may be
// tried.
func (l *live) try(s *snapshot, u *upstream) (settled bool) {
	p := l.proxy.pool
	l.done.Upstream = u.url
	a := p.begin(l.r.Context(), u, l.query.Class, l.route.path, l.query.Model, l.body.replayable())
	l.pace(a)
	defer func() {
		a.end()
		if l.done.Status == http.StatusOK && !l.done.Broken {
			a.answered(l.done.Usage, l.done.HasUsage, l.done.ITL)
		}
		if l.query.Class == Batch && l.done.Status == http.StatusOK {
			u.pace.endBatch()
		}
		p.endClass(u, l.query.Class)
	}()
	answer, err := a.exchange(l.route, l.header, l.body)
	l.connected = l.connected || a.sent
	if err != nil {
		return l.failed(a, err)
	}
	defer answer.Body.Close()
	if err := decode(answer); err != nil {
		return l.undecodable(a, answer, err)
	}
	told := said{status: answer.StatusCode, header: answer.Header, clientKey: a.hasClientKey(l.header)}
	if answer.StatusCode < 200 || answer.StatusCode > 299 {
		told.body = a.errorBody(answer)
	}
	if v := judge(told); v.blame != blameNone {
		return l.judged(a, v, told)
	}
	switch {
	case isStream(answer.Header):
		return l.relayStream(s, a, answer)
	case 0 <= answer.ContentLength && answer.ContentLength <= wholeAnswer:
		return l.relayWhole(a, answer)
	default:
		return l.relayParts(a, answer)
	}
}

// pace notes what the request has its server prefill.
func (l *live) pace(a *attempt) {
	if !l.route.seatless {
		a.ask(l.record, max(l.body.length, int64(len(l.body.head))), l.stream)
	}
}

// failed sorts out an attempt that broke off before the client had a byte. It
// is false when another server may be tried.
func (l *live) failed(a *attempt, err error) (settled bool) {
	if l.r.Context().Err() != nil {
		l.done.Status = statusClientGone
		return true
	}
	if fault := l.body.fault(); fault != nil {
		l.badBody(fault)
		return true
	}
	if cause := a.cause(); cause != nil {
		a.fault(0, cause.Error())
		err = cause
	} else if l.proxy.pool.own(err) {
		// Another server would not be reached either.
		l.w.Header()["Connection"] = []string{"close"} // a descriptor the less
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

// giveUp answers when no server is left to try; at and settled are as where has
// them.
func (l *live) giveUp(at *served, settled bool) {
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
		l.record, l.noServer = l.proxy.pool.wanted(l.query.Model)
		l.refuse(notFound(l.query.Model, settled))
	}
}

// notFound is the error for a model that no upstream has told.
func notFound(model string, settled bool) *openai.Error {
	if !settled {
		return openai.Unavailable(retryAfter, "The model '%s' is not served yet; servers are still loading.", clip(model))
	}
	return openai.ModelNotFound(clip(model))
}

// exhausted is the error for a request that the gateway cannot send for a
// shortage of its own.
func exhausted(err error) *openai.Error {
	resource, _ := descriptors.Shortage(err)
	return openai.Unavailable(retryAfter, "The gateway is out of %s.", resource).WithCause(err)
}

// clip bounds a name that is repeated in an answer.
func clip(name string) string { return name[:min(len(name), maxModelName)] }

// finish is the request's end, whatever that was.
func (l *live) finish() {
	if l.done.Status == statusClientGone {
		l.w.WriteHeader(statusClientGone) // a handler that writes nothing answers 200
	}
	now := time.Now()
	l.done.Duration = now.Sub(l.began)
	l.recordOutcome(now)
	l.proxy.pool.metrics.observe(l.route, &l.done)
	if l.proxy.record != nil {
		l.proxy.record(l.r.Context(), l.done)
	}
}

// cut ends the connection so that no client takes what it has for the whole.
func (l *live) cut(a *attempt, err error) {
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
