package upstreams

import (
	"errors"
	"io"
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

	tried     []*upstream
	triedRoom [8]*upstream
	last      *spare // the last answer that another server might have bettered
	connected bool   // an attempt got as far as a connection
	done      LiveRequest
}

// spare is an answer for when no server has a better one.
type spare struct {
	status int
	header http.Header
	body   []byte // JSON
	err    *openai.Error
}

// forward tries one server after the other, each once.
func (l *live) forward() {
	l.tried = l.triedRoom[:0]
	for {
		s, at, settled := l.proxy.pool.where(l.query.Model)
		var c *Candidate
		if at != nil {
			l.done.Model = l.query.Model
			c = s.choose(at, &l.query, l.tried)
		}
		// A body that cannot be sent twice may still be whole: nobody was there
		// to read of it.
		if c == nil || l.connected && !l.body.replayable() {
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

// try sends the request to u and relays the answer. It is false when nothing
// reached the client and another server may be tried.
func (l *live) try(s *snapshot, u *upstream) (settled bool) {
	p := l.proxy.pool
	l.done.Upstream = u.url
	u.begin()
	a := p.begin(l.r.Context(), u, Live, l.route.path, l.query.Model)
	defer func() {
		a.end()
		u.end()
		p.released()
	}()
	answer, err := a.exchange(l.route, l.header, l.body)
	l.connected = l.connected || a.sent
	if err != nil {
		return l.failed(a, err)
	}
	defer answer.Body.Close()
	v := judge(answer)
	if v.passing(answer.StatusCode) {
		a.answeredBadly(answer.StatusCode)
		l.keep(a, v, answer)
		return false
	}
	if answer.StatusCode >= http.StatusInternalServerError {
		a.answeredBadly(answer.StatusCode)
	}
	switch {
	case v != asItIs:
		a.landed()
		l.refuse(v.explain(answer.StatusCode))
		return true
	case isStream(answer.Header):
		return l.relayStream(s, a, answer)
	case 0 <= answer.ContentLength && answer.ContentLength <= wholeAnswer:
		return l.relayWhole(a, answer)
	default:
		return l.relayParts(a, answer)
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

const (
	// spareLimit bounds the body of an error that is kept, in bytes.
	spareLimit = 64 << 10
	// spareWait bounds how long it is waited for.
	spareWait = time.Second
)

// keep keeps an answer for when no server has a better one.
func (l *live) keep(a *attempt, v verdict, answer *http.Response) {
	next := &spare{status: answer.StatusCode, header: answer.Header}
	if v == asItIs {
		slow := time.AfterFunc(spareWait, func() { a.cancel(errSlowError) })
		text, err := io.ReadAll(io.LimitReader(answer.Body, spareLimit+1))
		slow.Stop()
		if err == nil && len(text) <= spareLimit {
			next.body = text
		} else {
			v = reworded
		}
	}
	if v != asItIs {
		next.err = v.explain(answer.StatusCode)
	}
	l.last = next
}

// giveUp answers when no server is left to try; at and settled are as where has
// them.
func (l *live) giveUp(at *served, settled bool) {
	switch {
	case l.r.Context().Err() != nil:
		l.done.Status = statusClientGone
	case l.last != nil:
		l.relaySpare()
	case l.connected && (at == nil || len(at.up) > 0):
		l.refuse(openai.BadGateway("The model server broke the connection."))
	case at != nil:
		at.probeSoon()
		l.refuse(openai.Unavailable(retryAfter, "Every server of the model '%s' is down.", l.query.Model))
	default:
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

func (l *live) relaySpare() {
	after := l.last.header["Retry-After"]
	if l.last.err != nil {
		if after != nil {
			l.w.Header()["Retry-After"] = after
		}
		l.refuse(l.last.err)
		return
	}
	l.done.Status = l.last.status
	answerHeader(l.w.Header(), l.last.header, l.id)
	l.w.WriteHeader(l.last.status)
	if _, err := l.w.Write(l.last.body); err != nil {
		l.done.Broken = true
	}
}

// refuse answers with err's envelope.
func (l *live) refuse(err error) {
	l.done.Status = http.StatusInternalServerError
	if e, ok := errors.AsType[*openai.Error](err); ok {
		l.done.Status = e.Status
	}
	l.w.Header()["X-Request-Id"] = l.id
	openai.WriteError(l.w, err)
}

// finish is the request's end, whatever that was.
func (l *live) finish() {
	if l.done.Status == statusClientGone {
		l.w.WriteHeader(statusClientGone) // a handler that writes nothing answers 200
	}
	l.done.Duration = time.Since(l.began)
	l.proxy.pool.metrics.observe(l.route, &l.done)
	if l.proxy.record != nil {
		l.proxy.record(l.done)
	}
}

// cut ends the connection so that no client takes what it has for the whole.
func (l *live) cut(a *attempt, err error) {
	l.done.Broken = true
	if l.r.Context().Err() == nil {
		if a.cause() == nil {
			a.failed(err)
		}
		if c := l.proxy.log.Check(zap.WarnLevel, "answer cut off"); c != nil {
			c.Write(zap.String("request", l.id[0]), zap.String("upstream", a.up.url), zap.Error(err))
		}
	}
	panic(http.ErrAbortHandler)
}
