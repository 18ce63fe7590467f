package upstreams

import (
	"context"
	"net/http"
	"net/http/httptrace"
	"time"
)

// attempt is one request on its way to one upstream.
type attempt struct {
	flight
	pool  *Pool
	up    *upstream
	class Class
	ctx   context.Context
	trace httptrace.ClientTrace

	endpoint string
	sent     bool      // there was a connection: something may have reached the upstream
	sentAt   time.Time // when there was one; zero before
	reused   bool      // the connection had carried a request before

	prompt     prompt
	glance     glance
	size       uint8 // see sizeClass
	begun      time.Time
	goodBefore int64 // upstream.good at the beginning
}

// begin starts an attempt at u, whose requests it counts from now on, for a
// request of the model to the endpoint. whole says that all of its body is there.
// ctx ends it, as does end.
func (p *Pool) begin(ctx context.Context, u *upstream, class Class, endpoint, model string, whole bool) *attempt {
	a := &attempt{pool: p, up: u, class: class, endpoint: endpoint, begun: time.Now(), goodBefore: u.good.Load()}
	a.model, a.whole = model, whole
	ctx, a.cancel = context.WithCancelCause(ctx)
	a.trace.GotConn = func(info httptrace.GotConnInfo) {
		a.sent, a.sentAt, a.reused = true, time.Now(), info.Reused
	}
	a.ctx = httptrace.WithClientTrace(ctx, &a.trace)
	u.flights.add(&a.flight)
	return a
}

// landed says that the client has a byte: the attempt can no longer be begun
// anew elsewhere.
func (a *attempt) landed() {
	a.up.flights.remove(&a.flight)
	a.glance.over()
	if a.prompt.landed(a) {
		a.pool.released()
	}
}

// end ends the attempt. If its answer was not read to the end, the upstream
// sees the connection close and stops working on it.
func (a *attempt) end() {
	a.landed()
	a.cancel(nil)
	a.up.telemetry.ended(a.class)
}

// fault counts the attempt as failed by the upstream. status is that of the
// answer, 0 if there was none.
func (a *attempt) fault(status int, why string) {
	a.up.failures[a.class].Add(1)
	a.up.telemetry.failed(Failure{Class: a.class, Endpoint: a.endpoint, Model: a.model, Status: status, Message: why})
}

// cause is why the attempt was cancelled, nil when it was not.
func (a *attempt) cause() error { return context.Cause(a.ctx) }

// blank is what every request to an upstream has.
var blank = &http.Request{Method: http.MethodPost, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1}

// exchange sends the request and gives the answer once its header is there.
//
// A connection that was kept may have been closed by the server just as the
// request was sent. What happens to a request on such a one is tried again on
// a new connection: only that tells whether the server is gone. A body that can
// be sent only once gets a new connection to begin with.
func (a *attempt) exchange(rt *route, header http.Header, body *payload) (*http.Response, error) {
	way := a.up.access.Load()
	header = way.header(header)
	out := way.out.keep
	if !body.replayable() {
		out = way.out.fresh
	}
	answer, err := out.RoundTrip(a.request(rt, header, body))
	if err != nil && a.reused && stale(err) && body.replayable() && a.ctx.Err() == nil {
		first := err
		answer, err = way.out.fresh.RoundTrip(a.request(rt, header, body))
		if err != nil && refused(err) {
			err = &goneError{first: first, then: err}
		}
	}
	if err != nil {
		return nil, err
	}
	if answer.StatusCode < http.StatusInternalServerError {
		a.up.progress.Add(1)
	}
	return answer, nil
}

func (a *attempt) request(rt *route, header http.Header, body *payload) *http.Request {
	r := blank.WithContext(a.ctx)
	r.URL, r.Host = a.up.urls[rt.index], a.up.host
	r.Header = header
	r.Body, r.ContentLength = body.reader(), body.length
	return r
}

// goneError is that a connection broke and that the next one was refused.
type goneError struct{ first, then error }

func (e *goneError) Error() string { return e.then.Error() }
func (e *goneError) Unwrap() error { return e.then }

// failed takes note of an attempt that got no answer, or only a part of one.
// Clients that leave and attempts that were taken off a hanging server are none
// of those.
func (a *attempt) failed(err error) {
	if a.pool.own(err) {
		return
	}
	a.fault(0, err.Error())
	if refused(err) && (!a.sent || isGone(err)) {
		a.pool.gone(a.up, err)
		return
	}
	a.pool.doubt(a.up)
}
