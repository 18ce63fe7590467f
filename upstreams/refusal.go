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

// errorBody reads the beginning of the body of an error, with a time limit.
func (a *attempt) errorBody(answer *http.Response) []byte {
	slow := time.AfterFunc(errorBodyTimeout, func() { a.cancel(errSlowError) })
	defer slow.Stop()
	text, err := io.ReadAll(io.LimitReader(answer.Body, errorBodyLimit+1))
	if err != nil || len(text) > errorBodyLimit {
		return nil
	}
	return text
}

// hasClientKey reports whether the header of a request passes a client's key on to an
// upstream.
func (a *attempt) hasClientKey(header http.Header) bool {
	if a.up.access.Load().bearer != nil {
		return false
	}
	return header["Authorization"] != nil || header["X-Api-Key"] != nil || header["Api-Key"] != nil
}

// refusal is a server's error that may be returned to the client.
type refusal struct {
	verdict verdict
	reply   reply
}

// handleError records an error and returns it to the client, or returns false so that
// another server is tried.
func (l *live) handleError(a *attempt, v verdict, s reply) (handled bool) {
	a.recordError(v, s, l.body.head)
	next := &refusal{v, s}
	if !v.blame.elsewhere() || v.blame == blameEither && l.last != nil && l.last.verdict.blame == blameEither {
		a.commit()
		l.last = next
		l.relayRefusal()
		return true
	}
	// An error about the request is more useful to the client than others.
	if l.last == nil || l.last.verdict.blame > blamePassing || v.blame <= blamePassing {
		l.last = next
	}
	return false
}

// relayRefusal returns the stored error to the client.
func (l *live) relayRefusal() {
	v, s := l.last.verdict, l.last.reply
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
	l.answerHeader(s.header)
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

// refuse answers with err, in the format of the API that the client uses.
func (l *live) refuse(err error) {
	e, ok := errors.AsType[*openai.Error](err)
	if !ok {
		e = openai.Internal(err)
	}
	l.done.Status = e.Status
	l.w.Header()["X-Request-Id"] = l.id
	openai.WriteError(l.w, l.r, e)
}

// ofRaw converts a server's error in OpenAI's envelope.
func (rt *route) ofRaw(v verdict, s reply) *openai.Error {
	from, _ := readError(s.body)
	return &openai.Error{Status: v.status, Message: from.message, Type: from.kind}
}

const (
	// errorBodyLimit limits how much of the body of an error is read, in bytes.
	errorBodyLimit = 64 << 10
	// errorBodyTimeout limits the time for reading it.
	errorBodyTimeout = time.Second
)

// undecodable handles an answer whose content coding the gateway cannot decode: it is
// passed on unchanged to a client that accepts the coding.
func (l *live) undecodable(a *attempt, answer *http.Response, err error) (handled bool) {
	coding, _ := errors.AsType[*codingError](err)
	if strings.Contains(strings.ToLower(l.r.Header.Get("Accept-Encoding")), coding.coding) {
		return l.relayParts(a, answer)
	}
	a.recordFailure(answer.StatusCode, err.Error())
	a.commit()
	l.refuse(openai.BadGateway("The model server's answer has the content encoding '%s', which was not asked for and cannot be decoded.", coding.coding))
	return true
}
