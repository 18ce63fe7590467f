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
}

// Slot is the right to send one batch line to one upstream.
type Slot struct {
	pool     *Pool
	up       *upstream
	model    string
	released atomic.Bool
}

// Reserve takes a slot for a batch line, if there is one now, preferring another
// upstream than avoid ("" for none). The error is ErrBusy, ErrDown or
// ErrUnknownModel; ErrDown too for a model that an upstream which is still
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
	return err == nil && slices.ContainsFunc(at.up, func(c *Candidate) bool { return c.hasRoom(c.load.Load()) })
}

// Slots is how many batch lines this gateway may have on all upstreams at once,
// those that are down included.
func (p *Pool) Slots() int { return p.now.Load().slots }

// Up tells whether an upstream of a model takes requests, be it full or not:
// nil, or ErrDown or ErrUnknownModel as Reserve has them.
func (p *Pool) Up(model string) error {
	_, _, err := p.up(model)
	return err
}

// up is where a model is, if it is up anywhere.
func (p *Pool) up(model string) (*snapshot, *served, error) {
	s, at, settled := p.where(model)
	switch {
	case at == nil && settled:
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
	q := &Query{Class: Batch, Model: model}
	var room [roomFor]*Candidate
	left := room[:0]
	for rank := range 4 {
		left = left[:0]
		for _, c := range at.up {
			if c.rank(avoid) == rank {
				left = append(left, c)
			}
		}
		if c := s.take(left, q); c != nil {
			return c.upstream, nil
		}
	}
	return nil, ErrBusy
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
			if c.hasRoom(c.load.Load()) {
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
// An answer that no model server gives (a redirect, an HTML page) comes as 502,
// an error in a form other than JSON with its status; both have a body of the
// gateway's.
func (s *Slot) Send(ctx context.Context, path string, body []byte) (*Answer, error) {
	rt := routes[path]
	if rt == nil {
		return nil, &SendError{Err: fmt.Errorf("path %s is not forwarded", path)}
	}
	a := s.pool.begin(ctx, s.up, Batch, rt.path, s.model)
	defer a.end()
	sn := s.pool.now.Load()
	whole := &payload{head: body, length: int64(len(body))}
	header := http.Header{"Content-Type": contentJSON, "Accept": contentJSON, "Accept-Encoding": identity, "User-Agent": userAgent}
	if sn.bearer != nil {
		header["Authorization"] = sn.bearer
	}
	answer, err := a.exchange(rt, header, whole)
	if err != nil {
		return nil, s.failed(ctx, a, err)
	}
	defer answer.Body.Close()
	text, err := readAnswer(answer, sn.cfg.MaxAnswer)
	if errors.Is(err, errAnswerSize) {
		a.fault(answer.StatusCode, err.Error())
		return nil, &SendError{Sent: true, TooLarge: true, Err: err}
	}
	if err != nil {
		return nil, s.failed(ctx, a, fmt.Errorf("reading the answer: %w", err))
	}
	if answer.StatusCode >= http.StatusInternalServerError {
		a.answeredBadly(answer.StatusCode)
	}
	v := judge(answer)
	if v != asItIs {
		text = v.envelope(answer.StatusCode)
	}
	return &Answer{Status: v.status(answer.StatusCode), Header: answer.Header, Body: text, RequestID: answer.Header.Get("X-Request-Id")}, nil
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

// errAnswerSize is that an answer is over Config.MaxAnswer.
var errAnswerSize = errors.New("the answer is too large")

// readAnswer reads the body of an answer, up to limit bytes.
func readAnswer(answer *http.Response, limit int64) ([]byte, error) {
	size := answer.ContentLength
	if size > limit {
		return nil, errAnswerSize
	}
	if 0 <= size && size <= wholeAnswer {
		text := make([]byte, size)
		_, err := io.ReadFull(answer.Body, text)
		return text, err
	}
	text, err := io.ReadAll(io.LimitReader(answer.Body, limit+1))
	if err == nil && int64(len(text)) > limit {
		return nil, errAnswerSize
	}
	return text, err
}
