package upstreams

import (
	"context"
	"net/http"
	"net/http/httptrace"
	"time"
)

// attempt is one request sent to one upstream.
type attempt struct {
	flight
	pool  *Pool
	up    *upstream
	class Class
	ctx   context.Context
	trace httptrace.ClientTrace

	endpoint string
	sent     bool      // a connection was made: the request may have reached the upstream
	sentAt   time.Time // when the connection was made; zero before
	reused   bool      // the connection was used before

	prompt      prompt
	observation priceObservation
	size        uint8 // see sizeClass
	begun       time.Time
	goodBefore  int64 // upstream.goodAnswers when the attempt began
}

// begin starts an attempt at u and counts its requests from now on. endpoint and
// model are those of the request; whole reports whether its entire body is in memory,
// line whether it is a batch line. The attempt ends with ctx or with end.
func (p *Pool) begin(ctx context.Context, u *upstream, class Class, endpoint, model string, whole, line bool) *attempt {
	a := &attempt{pool: p, up: u, class: class, endpoint: endpoint, begun: time.Now(), goodBefore: u.goodAnswers.Load()}
	a.model, a.whole, a.line, a.flex = model, whole, line, class == Batch && !line
	ctx, a.cancel = context.WithCancelCause(ctx)
	a.trace.GotConn = func(info httptrace.GotConnInfo) {
		a.sent, a.sentAt, a.reused = true, time.Now(), info.Reused
	}
	a.ctx = httptrace.WithClientTrace(ctx, &a.trace)
	u.flights.add(&a.flight)
	return a
}

// commit records that the client got its first byte: the request can no longer be
// retried elsewhere.
func (a *attempt) commit() {
	a.up.flights.remove(&a.flight)
	a.observation.end()
	if a.prompt.finishPrefill(a) {
		a.pool.released()
	}
}

// end ends the attempt. If the answer was not read completely, the connection is
// closed and the upstream aborts the request.
func (a *attempt) end() {
	a.commit()
	a.cancel(nil)
	a.up.telemetry.ended(a.class)
}

// recordFailure counts the attempt as failed by the upstream. status is the status of
// the answer, 0 if there was none.
func (a *attempt) recordFailure(status int, why string) {
	a.up.failures[a.class].Add(1)
	a.up.telemetry.failed(Failure{Class: a.class, Endpoint: a.endpoint, Model: a.model, Status: status, Message: why})
}

// cause returns why the attempt was cancelled, nil if it was not.
func (a *attempt) cause() error { return context.Cause(a.ctx) }

// blank is the template of every request to an upstream.
var blank = &http.Request{Method: http.MethodPost, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1}

// exchange sends the request and returns the answer once its header has arrived.
//
// The server may close a kept connection at the time when the request is sent. A
// request that fails on a reused connection is therefore retried on a new one, which
// also shows whether the server is down. A body that can be sent only once always
// gets a new connection.
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
			err = &downError{first: first, then: err}
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

// downError reports that a connection broke and that the next one was refused.
type downError struct{ first, then error }

func (e *downError) Error() string { return e.then.Error() }
func (e *downError) Unwrap() error { return e.then }

// failed records that an attempt got no answer, or an incomplete one. It is not
// called for clients that disconnect or for attempts that were cancelled on a hung
// server.
func (a *attempt) failed(err error) {
	if a.pool.isOwnShortage(err) {
		return
	}
	a.recordFailure(0, err.Error())
	if refused(err) && (!a.sent || isDown(err)) {
		a.pool.markDown(a.up, err)
		return
	}
	a.pool.markSuspect(a.up)
}
