package upstreams

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"sync/atomic"
	"time"
)

// Answer is an upstream's answer to a batch line.
type Answer struct {
	Status    int
	Header    http.Header
	Body      []byte
	RequestID string // the upstream's, "" if it sends none
	Next      Next
	Reason    string // why it is not final
}

// Next is the next step for a line after an answer.
type Next uint8

const (
	// Final marks an answer, or an error that the request causes.
	Final Next = iota
	// Again marks an error that may be temporary, but may be caused by the request.
	Again
	// Elsewhere marks an error that the request does not cause: it should be retried
	// without limit.
	Elsewhere
)

// Slot is the right to send one batch line to one upstream.
type Slot struct {
	pool     *Pool
	up       *upstream
	model    string
	released atomic.Bool
}

// Reserve takes a slot for a batch line if one is free, preferably on another
// upstream than avoid ("" for none). The error is ErrBusy, ErrDown, ErrUnknownModel
// or a *SuspectError; it is ErrDown, too, if an upstream that is still loading may
// have the model. The slot must be released.
func (p *Pool) Reserve(model, avoid string) (*Slot, error) { return p.ReserveFit(model, avoid, nil) }

// ReserveFit is Reserve for a batch line that may run on some upstreams only: fit, unless
// nil, reports whether the upstream with a URL may be used. It is called for upstreams with
// a free slot only, and must not block. If none of these may be used the error is ErrBusy.
func (p *Pool) ReserveFit(model, avoid string, fit func(url string) bool) (*Slot, error) {
	u, err := p.reserve(model, avoid, fit)
	if err != nil {
		// Events between the first attempt and this store are not signalled: try again.
		p.reserveFailed.Store(true)
		if u, err = p.reserve(model, avoid, fit); err != nil {
			return nil, err
		}
	}
	u.requests[Batch].Add(1)
	return &Slot{pool: p, up: u, model: model}, nil
}

// Free reports whether Reserve would return a slot for the model now.
func (p *Pool) Free(model string) bool {
	_, at, err := p.up(model)
	return err == nil && !p.queue.precedes(model) && slices.ContainsFunc(at.up, func(c *Candidate) bool { return !c.closedToBatch() && c.acceptsBatch() })
}

// openToBatch returns nil if an upstream of the model accepts batch lines, or a
// *SuspectError if all are suspect and no trial is due.
func (p *Pool) openToBatch(at *served) error {
	for _, c := range at.up {
		if gate := c.trialAt.Load(); gate == 0 || c.age() >= gate {
			return nil
		}
	}
	return &SuspectError{Reason: p.reasons(at)}
}

// Slots returns how many batch lines this gateway may have in flight on all
// upstreams, including those that are down.
func (p *Pool) Slots() int { return p.now.Load().slots }

// Up returns nil if an upstream of a model accepts requests, even if it is full, or
// else an error of Reserve; ErrTrial if all are suspect and a trial line may be sent.
func (p *Pool) Up(model string) error {
	_, at, err := p.up(model)
	if err != nil {
		return err
	}
	if err := p.openToBatch(at); err != nil {
		return err
	}
	for _, c := range at.up {
		if c.trialAt.Load() == 0 {
			return nil
		}
	}
	return ErrTrial
}

// up returns the upstreams of a model, or an error if none is up.
func (p *Pool) up(model string) (*snapshot, *served, error) {
	s, at, complete := p.lookup(model)
	switch {
	case at == nil && complete:
		p.rediscover(context.Background()) // discovery may help the next caller
		return nil, nil, ErrUnknownModel
	case at == nil:
		return nil, nil, p.whyDown(nil)
	case len(at.up) == 0:
		at.probeSoon()
		return nil, nil, p.whyDown(at.known)
	}
	return s, at, nil
}

// whyDown returns ErrLoading, ErrAway or ErrDown for the upstreams of a model, none of
// which accepts requests. Without any it considers those that have not reported their
// models.
func (p *Pool) whyDown(known []*upstream) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	var loading, away, down bool
	for _, u := range p.upstreams {
		if known == nil && u.discovered || known != nil && !slices.Contains(known, u) {
			continue
		}
		switch {
		case u.draining:
			down = true
		case u.state == StateLoading:
			loading = true
		case u.state == StateAway:
			away = true
		default:
			down = true
		}
	}
	switch {
	case loading:
		return ErrLoading
	case away && !down:
		return ErrAway
	}
	return ErrDown
}

func (p *Pool) reserve(model, avoid string, fit func(url string) bool) (*upstream, error) {
	s, at, err := p.up(model)
	if err != nil {
		return nil, err
	}
	if err := p.openToBatch(at); err != nil {
		return nil, err
	}
	if !p.queue.precedes(model) {
		var fits func(*Candidate) bool
		if fit != nil {
			fits = func(c *Candidate) bool { return fit(c.url) }
		}
		if c := p.takeSlot(s, at, &Query{Class: Batch, Model: model}, avoid, fits); c != nil {
			return c.upstream, nil
		}
	}
	return nil, ErrBusy
}

// takeSlot takes a batch slot on an upstream with a free one, or returns nil. fit,
// unless nil, reports whether an upstream may be used.
func (p *Pool) takeSlot(s *snapshot, at *served, q *Query, avoid string, fit func(*Candidate) bool) *Candidate {
	var room [stackCandidates]*Candidate
	left := room[:0]
	for rank := range 4 {
		left = left[:0]
		for _, c := range at.up {
			if c.rank(avoid) == rank && !c.closedToBatch() && (fit == nil || c.hasSlotNow() && fit(c)) {
				left = append(left, c)
			}
		}
		for {
			c := s.take(left, q)
			if c == nil {
				break
			}
			if c.trialAt.Load() == 0 || p.claimTrial(c.upstream) {
				return c
			}
			c.endBatch() // another line has claimed the trial
			if left = slices.DeleteFunc(left, func(o *Candidate) bool { return o == c }); len(left) == 0 {
				break
			}
		}
	}
	p.wakeFor(at, fit)
	return nil
}

// rank returns the preference for a batch line: 0 is the best.
func (c *Candidate) rank(avoid string) int {
	rank := 0
	if c.suspect.Load() {
		rank += 2
	}
	if c.url == avoid {
		rank++
	}
	return rank
}

// take chooses among the candidates of left with a free slot, and takes the slot.
// left is overwritten.
func (s *snapshot) take(left []*Candidate, q *Query) *Candidate {
	for {
		n := 0
		for _, c := range left {
			if c.acceptsBatch() {
				left[n] = c
				n++
			}
		}
		if left = left[:n]; n == 0 {
			return nil
		}
		if c := s.cfg.Balancer.Choose(left, q); c.beginBatch() {
			return c
		}
	}
}

// Upstream returns the URL of the upstream.
func (s *Slot) Upstream() string { return s.up.url }

// Release releases the slot. Only the first call has an effect.
func (s *Slot) Release() {
	if s.released.Swap(true) {
		return
	}
	s.up.endBatch()
	s.pool.released()
}

// crashCheck limits the probe of a server that broke a connection.
const crashCheck = 2 * time.Second

// Send posts body to path unchanged and reads the complete answer. body must not be
// modified afterwards. The error is a *SendError, or ctx's own.
//
// An error answer is in OpenAI's envelope, with status 502 if no model server sends
// such an answer. Answer.Next is the next step for the line.
func (s *Slot) Send(ctx context.Context, path string, body []byte) (*Answer, error) {
	rt := routes[path]
	if rt == nil {
		return nil, &SendError{Err: fmt.Errorf("path %s is not forwarded", path)}
	}
	sn := s.pool.now.Load()
	body, refused, err := s.pool.checkLine(ctx, sn, rt, s.model, body)
	if refused != nil || err != nil {
		return refused, err
	}
	a := s.pool.begin(ctx, s.up, Batch, rt.path, s.model, true, true)
	defer a.end()
	a.setPrompt(sn.record(s.model), int64(len(body)), false, chainOf(s.model, body))
	header := http.Header{"Content-Type": contentJSON, "Accept": contentJSON, "Accept-Encoding": identity, "User-Agent": userAgent}
	if sn.bearer != nil {
		header["Authorization"] = sn.bearer
	}
	answer, err := a.sendLine(rt, header, body)
	if err != nil {
		return nil, s.failed(ctx, a, err)
	}
	defer answer.Body.Close()
	if err := decode(answer); err != nil {
		a.recordFailure(answer.StatusCode, err.Error())
		return nil, &SendError{Sent: true, Unreadable: true, Err: err}
	}
	got := reply{status: answer.StatusCode, header: answer.Header, model: a.model}
	if answer.StatusCode < 200 || answer.StatusCode > 299 {
		got.body = a.errorBody(answer)
	}
	v := judge(got)
	if v.blame != blameNone {
		return s.answerFor(a, v, got, body), nil
	}
	text, err := readAnswer(answer, sn.cfg.MaxAnswer)
	if _, tooLarge := errors.AsType[*answerSizeError](err); tooLarge {
		a.recordFailure(answer.StatusCode, err.Error())
		return nil, &SendError{Sent: true, TooLarge: true, Err: err}
	}
	if err != nil {
		return nil, s.failed(ctx, a, fmt.Errorf("reading the answer: %w", err))
	}
	a.succeeded()
	usage, counted := findUsage(text)
	a.answered(usage, counted, 0)
	s.up.pace.endBatch()
	return &Answer{Status: answer.StatusCode, Header: answer.Header, Body: text, RequestID: answer.Header.Get("X-Request-Id")}, nil
}

// answerFor records an error and returns the answer for the line.
func (s *Slot) answerFor(a *attempt, v verdict, got reply, body []byte) *Answer {
	itsOwn := a.recordError(v, got, body)
	answer := &Answer{
		Status: v.status, Header: got.header, Body: v.body(got), RequestID: got.header.Get("X-Request-Id"),
		Reason: v.reason,
	}
	switch {
	case !v.blame.elsewhere():
	case itsOwn:
		answer.Next = Again
	default:
		answer.Next = Elsewhere
	}
	return answer
}

// failed returns the error for a line without an answer.
func (s *Slot) failed(ctx context.Context, a *attempt, err error) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	failure := &SendError{Sent: a.sent, Err: err}
	if errors.Is(a.cause(), errWithdrawn) {
		failure.Sent, failure.Err = false, errWithdrawn // it did not begin
		return failure
	}
	if cause := a.cause(); cause != nil {
		a.recordFailure(0, cause.Error())
		failure.Err = cause
		return failure
	}
	if s.pool.isOwnShortage(err) {
		failure.Sent = false // a shortage of the gateway does not count as an attempt
		return failure
	}
	a.failed(err)
	if a.sent {
		failure.Crashed = isDown(err) || s.pool.crashed(ctx, a.up)
	}
	return failure
}

// crashed reports whether a server that broke a connection is down, and marks it
// down.
func (p *Pool) crashed(ctx context.Context, u *upstream) bool {
	timed, cancel := context.WithTimeout(ctx, crashCheck)
	defer cancel()
	_, err := p.now.Load().get(timed, u, healthRoute)
	gone := err != nil && timed.Err() == nil && !timedOut(err) && (refused(err) || broken(err))
	if gone {
		p.markDown(u, err)
	}
	return gone
}

func isDown(err error) bool {
	_, ok := errors.AsType[*downError](err)
	return ok
}

// answerSizeError reports that an answer exceeds Config.MaxAnswer.
type answerSizeError struct {
	size  int64 // in bytes; negative if not known
	limit int64
}

func (e *answerSizeError) Error() string {
	if e.size >= 0 {
		return fmt.Sprintf("the answer has %d bytes, which exceeds max_answer (%d)", e.size, e.limit)
	}
	return fmt.Sprintf("the answer exceeds max_answer (%d bytes)", e.limit)
}

// readAnswer reads the body of an answer, up to limit bytes.
func readAnswer(answer *http.Response, limit int64) ([]byte, error) {
	size := answer.ContentLength
	if size > limit {
		return nil, &answerSizeError{size, limit}
	}
	if 0 <= size && size <= wholeAnswer {
		text := make([]byte, size)
		_, err := io.ReadFull(answer.Body, text)
		return text, err
	}
	text, err := io.ReadAll(io.LimitReader(answer.Body, limit+1))
	if err == nil && int64(len(text)) > limit {
		return nil, &answerSizeError{-1, limit}
	}
	return text, err
}
