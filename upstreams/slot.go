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

// Answer is what an upstream answered to a batch line.
type Answer struct {
	Status    int
	Header    http.Header
	Body      []byte
	RequestID string // the upstream's, "" when it names none
	Next      Next
	Reason    string // why it is not final
}

// Next is what becomes of a line after an answer.
type Next uint8

const (
	// Final is for an answer, and for an error that is about the request.
	Final Next = iota
	// Again is for an error that may pass, and may be the request's.
	Again
	// Elsewhere is for an error that is not about the request: it is to be sent
	// again, however often.
	Elsewhere
)

// Slot is the right to send one batch line to one upstream.
type Slot struct {
	pool     *Pool
	up       *upstream
	model    string
	released atomic.Bool
}

// Reserve takes a slot for a batch line, if there is one now, preferring another
// upstream than avoid ("" for none). The error is ErrBusy, ErrDown,
// ErrUnknownModel or a *SuspectError; ErrDown too for a model that an upstream which is still
// loading may have. The slot is to be released.
func (p *Pool) Reserve(model, avoid string) (*Slot, error) {
	u, err := p.reserve(model, avoid)
	if err != nil {
		// What ended between the look and this is not signalled: look again.
		p.wanting.Store(true)
		if u, err = p.reserve(model, avoid); err != nil {
			return nil, err
		}
	}
	u.requests[Batch].Add(1)
	return &Slot{pool: p, up: u, model: model}, nil
}

// Free tells whether a model has a slot that Reserve would give now.
func (p *Pool) Free(model string) bool {
	_, at, err := p.up(model)
	return err == nil && !p.queue.goesFirst(model) && slices.ContainsFunc(at.up, func(c *Candidate) bool { return !c.shut() && c.takes() })
}

// open reports whether an upstream of a model takes batch lines: nil, or a
// *SuspectError if all are suspect and no trial is due.
func (p *Pool) open(at *served) error {
	for _, c := range at.up {
		if gate := c.gate.Load(); gate == 0 || c.age() >= gate {
			return nil
		}
	}
	return &SuspectError{Reason: p.reasons(at)}
}

// Slots is how many batch lines this gateway may have on all upstreams at once,
// those that are down included.
func (p *Pool) Slots() int { return p.now.Load().slots }

// Up tells whether an upstream of a model takes requests, be it full or not:
// nil, or an error as Reserve has it; ErrTrial if all are suspect and a line may
// be tried.
func (p *Pool) Up(model string) error {
	_, at, err := p.up(model)
	if err != nil {
		return err
	}
	if err := p.open(at); err != nil {
		return err
	}
	for _, c := range at.up {
		if c.gate.Load() == 0 {
			return nil
		}
	}
	return ErrTrial
}

// up is where a model is, if it is up anywhere.
func (p *Pool) up(model string) (*snapshot, *served, error) {
	s, at, settled := p.where(model)
	switch {
	case at == nil && settled:
		p.ask(context.Background()) // an answer helps the next one
		return nil, nil, ErrUnknownModel
	case at == nil:
		return nil, nil, ErrDown
	case len(at.up) == 0:
		at.probeSoon()
		return nil, nil, ErrDown
	}
	return s, at, nil
}

func (p *Pool) reserve(model, avoid string) (*upstream, error) {
	s, at, err := p.up(model)
	if err != nil {
		return nil, err
	}
	if err := p.open(at); err != nil {
		return nil, err
	}
	if !p.queue.goesFirst(model) {
		if c := p.takeSlot(s, at, &Query{Class: Batch, Model: model}, avoid, nil); c != nil {
			return c.upstream, nil
		}
	}
	return nil, ErrBusy
}

// takeSlot counts a request of the class batch on an upstream that has room for
// one, or returns nil. fit, if any, says which upstreams may be taken.
func (p *Pool) takeSlot(s *snapshot, at *served, q *Query, avoid string, fit func(*Candidate) bool) *Candidate {
	var room [roomFor]*Candidate
	left := room[:0]
	for rank := range 4 {
		left = left[:0]
		for _, c := range at.up {
			if c.rank(avoid) == rank && !c.shut() && (fit == nil || fit(c)) {
				left = append(left, c)
			}
		}
		for {
			c := s.take(left, q)
			if c == nil {
				break
			}
			if c.gate.Load() == 0 || p.try(c.upstream) {
				return c
			}
			c.endBatch() // another line has the trial
			if left = slices.DeleteFunc(left, func(o *Candidate) bool { return o == c }); len(left) == 0 {
				break
			}
		}
	}
	p.wakeFor(at)
	return nil
}

// rank orders candidates for a batch line: 0 is the best.
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

// take has the balancer choose among those of left that have room, and counts
// the line on the one chosen. left is used up.
func (s *snapshot) take(left []*Candidate, q *Query) *Candidate {
	for {
		n := 0
		for _, c := range left {
			if c.takes() {
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

// Upstream is the URL of the upstream.
func (s *Slot) Upstream() string { return s.up.url }

// Release gives the slot back. Only the first call counts.
func (s *Slot) Release() {
	if s.released.Swap(true) {
		return
	}
	s.up.endBatch()
	s.pool.released()
}

// crashCheck is how long a server is asked whether it is still there after it
// broke a connection.
const crashCheck = 2 * time.Second

// Send posts body to path, byte for byte, and reads the answer whole. body is
// not to be changed afterwards. The error is a *SendError, or ctx's own.
//
// An error comes in OpenAI's envelope, with 502 for what no model server
// answers. Next says what becomes of the line.
func (s *Slot) Send(ctx context.Context, path string, body []byte) (*Answer, error) {
	rt := routes[path]
	if rt == nil {
		return nil, &SendError{Err: fmt.Errorf("path %s is not forwarded", path)}
	}
	a := s.pool.begin(ctx, s.up, Batch, rt.path, s.model, true)
	defer a.end()
	sn := s.pool.now.Load()
	a.ask(sn.record(s.model), int64(len(body)), false)
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
		a.fault(answer.StatusCode, err.Error())
		return nil, &SendError{Sent: true, Unreadable: true, Err: err}
	}
	told := said{status: answer.StatusCode, header: answer.Header}
	if answer.StatusCode < 200 || answer.StatusCode > 299 {
		told.body = a.errorBody(answer)
	}
	v := judge(told)
	if v.blame != blameNone {
		return s.judged(a, v, told, body), nil
	}
	text, err := readAnswer(answer, sn.cfg.MaxAnswer)
	if _, tooLarge := errors.AsType[*answerSizeError](err); tooLarge {
		a.fault(answer.StatusCode, err.Error())
		return nil, &SendError{Sent: true, TooLarge: true, Err: err}
	}
	if err != nil {
		return nil, s.failed(ctx, a, fmt.Errorf("reading the answer: %w", err))
	}
	a.good()
	usage, counted := tailUsage(text[max(0, len(text)-tailSize):])
	a.answered(usage, counted, 0)
	s.up.pace.endBatch()
	return &Answer{Status: answer.StatusCode, Header: answer.Header, Body: text, RequestID: answer.Header.Get("X-Request-Id")}, nil
}

// judged takes note of an error and says what becomes of the line.
func (s *Slot) judged(a *attempt, v verdict, told said, body []byte) *Answer {
	itsOwn := a.accuse(v, told, body)
	answer := &Answer{
		Status: v.status, Header: told.header, Body: v.body(told), RequestID: told.header.Get("X-Request-Id"),
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

// failed makes the error of a line that got no answer.
func (s *Slot) failed(ctx context.Context, a *attempt, err error) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	failure := &SendError{Sent: a.sent, Err: err}
	if cause := a.cause(); cause != nil {
		a.fault(0, cause.Error())
		failure.Err = cause
		return failure
	}
	if s.pool.own(err) {
		failure.Sent = false // a line is not charged for what is the gateway's
		return failure
	}
	a.failed(err)
	if a.sent {
		failure.Crashed = isGone(err) || s.pool.crashed(ctx, a.up)
	}
	return failure
}

// crashed tells whether a server that broke a connection is gone.
func (p *Pool) crashed(ctx context.Context, u *upstream) bool {
	timed, cancel := context.WithTimeout(ctx, crashCheck)
	defer cancel()
	_, err := p.now.Load().get(timed, u, healthRoute)
	gone := err != nil && timed.Err() == nil && !timedOut(err) && (refused(err) || broken(err))
	if gone {
		p.gone(u, err)
	}
	return gone
}

func isGone(err error) bool {
	_, ok := errors.AsType[*goneError](err)
	return ok
}

// answerSizeError reports that an answer is over Config.MaxAnswer.
type answerSizeError struct {
	size  int64 // in bytes; negative when the server does not tell
	limit int64
}

func (e *answerSizeError) Error() string {
	if e.size >= 0 {
		return fmt.Sprintf("the answer has %d bytes, and max_answer is %d", e.size, e.limit)
	}
	return fmt.Sprintf("the answer has more than %d bytes, which max_answer is", e.limit)
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
