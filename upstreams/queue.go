package upstreams

import (
	"container/list"
	"context"
	"sync"
	"sync/atomic"
	"time"
)

// queue holds live and flex requests that wait for a server: live ones while all
// servers of their model are at their limits, flex ones while live requests leave
// no slot. Each model has a line of each class.
//
// A request that ends, and everything that the pool publishes, wakes one of the
// waiting requests, which hands out what is free, in order. So whoever wakes it
// takes no lock, and a pool without waiting requests pays for one atomic load.
type queue struct {
	waiting [2]atomic.Int64 // by Class, requests in all lines
	awake   chan struct{}   // cap 1; what waits is to be looked at

	mu      sync.Mutex // may be held while Pool.mu is taken, never the other way round
	lines   [2][]*line // guarded by mu; by Class, those with waiting requests, the next one first
	numbers uint64     // guarded by mu; given out so far
}

// line is what waits for one model in one class.
type line struct {
	model  string
	class  Class
	record *modelRecord
	counts *queueCounts // of record
	length int          // requests
	// returned are requests that a server failed after they had their turn, the
	// oldest first. They come before all others.
	returned list.List // of *ticket
	// ring are the API keys that have requests here, the next one first.
	ring   list.List // of *keyLine
	byKey  map[string]*list.Element
	moving time.Time // when the last request got a server, or when the first came
}

func newLine(q *Query, record *modelRecord, now time.Time) *line {
	return &line{
		model: q.Model, class: q.Class, record: record, counts: &record.queues[q.Class],
		byKey: make(map[string]*list.Element), moving: now,
	}
}

// keyLine are the requests of one API key, first come, first served.
type keyLine struct {
	key     string
	tickets list.List // of *ticket
}

// ticket is a request on its way to a server. It belongs to its handler's
// goroutine, but for what queue.mu guards.
type ticket struct {
	query *Query
	key   string      // of the client; "" for none
	tried []*upstream // servers that failed the request
	// whole says that the body can be sent again: it may be a trial.
	whole bool
	// seatless says that the server answers without its engine: nothing is waited
	// for.
	seatless bool
	waited   time.Duration // in the queue, so far

	number uint64        // guarded by queue.mu; the order of arrival, 0 before it waited
	since  time.Time     // guarded by queue.mu; of waiting
	place  *list.Element // guarded by queue.mu; nil when it does not wait
	called chan struct{} // closed when it is called
	seat   *Candidate    // what it was called for, before called is closed; nil to look again
}

// wait has a request wait until it gets a server, which is counted as in flight
// then. c is nil, without an error, when the servers that are left have changed:
// the caller looks again. The error is a 429, or ctx's.
func (p *Pool) wait(ctx context.Context, t *ticket, record *modelRecord) (c *Candidate, err error) {
	cfg := &p.now.Load().cfg
	began := time.Now()
	l, c, err := p.enter(t, record, cfg.QueueSize, began)
	if l == nil {
		p.released() // others may have got on
		return c, err
	}
	timer := time.NewTimer(cfg.QueueTimeout - t.waited)
	defer timer.Stop()
	for {
		select {
		case <-t.called:
			t.waited += time.Since(began)
			return t.seat, nil
		case <-p.queue.awake:
			p.serve()
		case <-timer.C:
			return p.leave(ctx, l, t, began)
		case <-ctx.Done():
			return p.leave(ctx, l, t, began)
		}
	}
}

// enter puts a request into its line. l is nil when it does not have to wait, with
// what wait returns.
func (p *Pool) enter(t *ticket, record *modelRecord, size int, now time.Time) (l *line, c *Candidate, err error) {
	q := &p.queue
	q.mu.Lock()
	defer q.mu.Unlock()
	waiting := &q.waiting[t.query.Class]
	waiting.Add(1) // before the look: what ends from here on wakes
	l = q.find(t.query.Class, t.query.Model)
	if l == nil {
		q.handOut(p) // requests for other models may wait for the same servers
		c, full := p.takeSeat(p.now.Load(), t)
		if !full {
			waiting.Add(-1)
			return nil, c, nil
		}
		l = newLine(t.query, record, now)
	}
	// A request that a server failed was let in before.
	if len(t.tried) == 0 && l.length >= size {
		waiting.Add(-1)
		l.counts.full.Add(1)
		return nil, nil, l.full(p.now.Load(), now)
	}
	if t.number == 0 {
		l.counts.queued.Add(1)
	}
	q.join(l, t, now)
	return l, nil, nil
}

// leave ends the waiting of a request whose time is over or whose client is gone.
// It may have been called meanwhile.
func (p *Pool) leave(ctx context.Context, l *line, t *ticket, began time.Time) (c *Candidate, err error) {
	defer p.released() // batch lines may be next
	q := &p.queue
	q.mu.Lock()
	defer q.mu.Unlock()
	now := time.Now()
	t.waited += now.Sub(began)
	waits, gone := t.place != nil, ctx.Err()
	if waits && gone == nil {
		err = l.late(p.now.Load(), now, t.waited)
	}
	if waits {
		q.remove(l, t)
	}
	switch {
	case gone != nil:
		l.counts.left.Add(1)
		if t.seat != nil {
			p.endClass(t.seat.upstream, l.class)
		}
		return nil, gone
	case waits:
		l.counts.late.Add(1)
		return nil, err
	}
	return t.seat, nil
}

// serve hands out what is free.
func (p *Pool) serve() {
	p.queue.mu.Lock()
	served := p.queue.handOut(p)
	p.queue.mu.Unlock()
	if served {
		p.released() // batch lines may be next
	}
}
