package upstreams

import (
	"errors"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/tidegate/tidegate/internal/openai"
)

// errorBody reads the beginning of the body of an error. It does not wait for
// long.
func (a *attempt) errorBody(answer *http.Response) []byte {
	slow := time.AfterFunc(spareWait, func() { a.cancel(errSlowError) })
	defer slow.Stop()
	text, err := io.ReadAll(io.LimitReader(answer.Body, spareLimit+1))
	if err != nil || len(text) > spareLimit {
		return nil
	}
	return text
}

// hasKey reports whether the header of a request carries a key of the client's
// to an upstream.
func (a *attempt) hasClientKey(header http.Header) bool {
	if a.up.access.Load().bearer != nil {
		return false
	}
	return header["Authorization"] != nil || header["X-Api-Key"] != nil || header["Api-Key"] != nil
}

// refusal is an error of a server's for the client.
type refusal struct {
	verdict verdict
	said    said
}

// judged takes note of an error and decides what becomes of the request: it is
// answered, or another server is tried.
func (l *live) judged(a *attempt, v verdict, s said) (settled bool) {
	a.accuse(v, s, l.body.head)
	next := &refusal{v, s}
	if !v.blame.elsewhere() || v.blame == blameEither && l.last != nil && l.last.verdict.blame == blameEither {
		a.landed()
		l.last = next
		l.relayRefusal()
		return true
	}
	// Of errors, that about the request is worth the most.
	if l.last == nil || l.last.verdict.blame > blamePassing || v.blame <= blamePassing {
		l.last = next
	}
	return false
}

// relayRefusal answers with the error that was kept.
func (l *live) relayRefusal() {
	v, s := l.last.verdict, l.last.said
	h := l.w.Header()
	e, raw := v.envelope(s)
	if e != nil || openai.SpeaksAnthropic(l.route.path) {
		if after := s.header.Get("Retry-After"); after != "" && (v.status == http.StatusTooManyRequests || v.status == http.StatusServiceUnavailable) {
			h.Set("Retry-After", after)
			if e != nil {
				e.RetryAfter = 0
			}
		}
		if e == nil {
			l.refuse(l.route.ofRaw(v, s))
			return
		}
		l.refuse(e)
		return
	}
	l.done.Status = v.status
	answerHeader(h, s.header, l.id)
	h["Content-Type"] = contentJSON
	h["Content-Length"] = []string{strconv.Itoa(len(raw))}
	if h["Retry-After"] == nil && (v.status == http.StatusTooManyRequests || v.status == http.StatusServiceUnavailable) {
		h["Retry-After"] = []string{strconv.Itoa(int(retryAfter.Seconds()))}
	}
	l.w.WriteHeader(v.status)
	if _, err := l.w.Write(raw); err != nil {
		l.done.Broken = true
	}
}

// refuse answers with err, in the form of the API that the client speaks.
func (l *live) refuse(err error) {
	e, ok := errors.AsType[*openai.Error](err)
	if !ok {
		e = openai.Internal(err)
	}
	l.done.Status = e.Status
	l.w.Header()["X-Request-Id"] = l.id
	openai.WriteError(l.w, l.r, e)
}

// ofRaw is a server's error whose body has OpenAI's envelope, read.
func (rt *route) ofRaw(v verdict, s said) *openai.Error {
	from, _ := readError(s.body)
	return &openai.Error{Status: v.status, Message: from.message, Type: from.kind}
}

const (
	// spareLimit bounds the body of an error that is read, in bytes.
	spareLimit = 64 << 10
	// spareWait bounds how long it is waited for.
	spareWait = time.Second
)

// undecodable answers with a body that is in a content coding which the gateway
// cannot decode: as it is to a client that accepts the coding.
func (l *live) undecodable(a *attempt, answer *http.Response, err error) (settled bool) {
	coding, _ := errors.AsType[*codingError](err)
	if strings.Contains(strings.ToLower(l.r.Header.Get("Accept-Encoding")), coding.coding) {
		return l.relayParts(a, answer)
	}
	a.fault(answer.StatusCode, err.Error())
	a.landed()
	l.refuse(openai.BadGateway("The model server's answer has the content encoding '%s', which was not asked for and cannot be decoded.", coding.coding))
	return true
}
