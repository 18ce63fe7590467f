package upstreams

import (
	"container/list"
	"context"
	"sync"
	"sync/atomic"
	"time"
)

// queue holds live and flex requests that wait for a server: live requests while all
// servers of their model are at their limits, flex requests while live requests leave
// no slot. Each model has a queue for each class.
//
// A request that ends, and each new snapshot, wakes one of the waiting requests,
// which dispatches as many as possible, in order. So waking takes no lock, and costs
// one atomic load if no request waits.
type queue struct {
	waiting [2]atomic.Int64 // by Class, requests in all queues
	awake   chan struct{}   // cap 1; waiting requests should be dispatched

	mu      sync.Mutex       // may be held while Pool.mu is taken, never the other way round
	queues  [2][]*modelQueue // guarded by mu; by Class, those with waiting requests, the next one first
	numbers uint64           // guarded by mu; the last number assigned
}

// modelQueue holds the requests that wait for one model in one class.
type modelQueue struct {
	model  string
	class  Class
	record *modelRecord
	counts *queueCounts // of record
	length int          // requests
	// retried are requests that failed on a server after they were dispatched, the
	// oldest first. They precede all others.
	retried list.List // of *ticket
	// ring contains the API keys with waiting requests, the next one first.
	ring         list.List // of *keyLine
	byKey        map[string]*list.Element
	lastDispatch time.Time // when the last request was dispatched, or when the first arrived
}

func newModelQueue(q *Query, record *modelRecord, now time.Time) *modelQueue {
	return &modelQueue{
		model: q.Model, class: q.Class, record: record, counts: &record.queues[q.Class],
		byKey: make(map[string]*list.Element), lastDispatch: now,
	}
}

// keyQueue holds the requests of one API key, first come, first served.
type keyQueue struct {
	key     string
	tickets list.List // of *ticket
}

// ticket is a request that is to be sent to a server. It belongs to its handler's
// goroutine, except for the fields guarded by queue.mu.
type ticket struct {
	query *Query
	key   string      // of the client; "" for none
	tried []*upstream // servers that failed the request
	// whole reports whether the body can be sent again: then the request may be a
	// trial.
	whole bool
	// noEngine reports whether the server answers without its engine: then the request
	// never waits.
	noEngine bool
	waited   time.Duration // in the queue, so far

	number   uint64        // guarded by queue.mu; the order of arrival, 0 before it waits
	since    time.Time     // guarded by queue.mu; when waiting began
	place    *list.Element // guarded by queue.mu; nil when it does not wait
	called   chan struct{} // closed when it is dispatched
	assigned *Candidate    // the server, set before called is closed; nil to choose again
}

// wait blocks until the request gets a server, on which it is then counted as in
// flight. c is nil without an error if the remaining servers have changed: the caller
// tries again. The error is a 429, or ctx's.
func (p *Pool) wait(ctx context.Context, t *ticket, record *modelRecord) (c *Candidate, err error) {
	cfg := &p.now.Load().cfg
	began := time.Now()
	l, c, err := p.enqueue(t, record, cfg.QueueSize, began)
	if l == nil {
		p.released() // other requests may have been dispatched
		return c, err
	}
	timer := time.NewTimer(cfg.QueueTimeout - t.waited)
	defer timer.Stop()
	for {
		select {
		case <-t.called:
			t.waited += time.Since(began)
			return t.assigned, nil
		case <-p.queue.awake:
			p.dispatchQueued()
		case <-timer.C:
			return p.abandonWait(ctx, l, t, began)
		case <-ctx.Done():
			return p.abandonWait(ctx, l, t, began)
		case <-p.ending.begun.Done():
			if c, err = p.abandonWait(ctx, l, t, began); err != nil && ctx.Err() == nil {
				err = refusalAtEnd()
			}
			return c, err
		}
	}
}

// enqueue adds a request to its queue. l is nil if it does not have to wait, or is
// refused; c and err are then the results of wait.
func (p *Pool) enqueue(t *ticket, record *modelRecord, size int, now time.Time) (l *modelQueue, c *Candidate, err error) {
	q := &p.queue
	q.mu.Lock()
	defer q.mu.Unlock()
	waiting := &q.waiting[t.query.Class]
	waiting.Add(1) // before tryAdmit: requests that end from here on wake the queue
	l = q.find(t.query.Class, t.query.Model)
	if l == nil {
		q.dispatch(p) // requests for other models may wait for the same servers
		c, full := p.tryAdmit(p.now.Load(), t)
		if !full {
			waiting.Add(-1)
			return nil, c, nil
		}
		l = newModelQueue(t.query, record, now)
	}
	// A request that failed on a server was admitted before.
	if len(t.tried) == 0 && l.length >= size {
		waiting.Add(-1)
		l.counts.full.Add(1)
		return nil, nil, l.fullError(p.now.Load(), now)
	}
	if t.number == 0 {
		l.counts.queued.Add(1)
	}
	q.join(l, t, now)
	return l, nil, nil
}

// abandonWait ends the waiting of a request after a timeout or when its client has
// disconnected. It may have been dispatched in the meantime.
func (p *Pool) abandonWait(ctx context.Context, l *modelQueue, t *ticket, began time.Time) (c *Candidate, err error) {
	defer p.released() // batch lines may be next
	q := &p.queue
	q.mu.Lock()
	defer q.mu.Unlock()
	now := time.Now()
	t.waited += now.Sub(began)
	waits, gone := t.place != nil, ctx.Err()
	if waits && gone == nil {
		err = l.timeoutError(p.now.Load(), now, t.waited)
	}
	if waits {
		q.remove(l, t)
	}
	switch {
	case gone != nil:
		l.counts.left.Add(1)
		if t.assigned != nil {
			t.query.unreserve(t.assigned.upstream)
			p.endClass(t.assigned.upstream, l.class)
		}
		return nil, gone
	case waits:
		l.counts.timedOut.Add(1)
		return nil, err
	}
	return t.assigned, nil
}

// dispatchQueued dispatches waiting requests.
func (p *Pool) dispatchQueued() {
	p.queue.mu.Lock()
	served := p.queue.dispatch(p)
	p.queue.mu.Unlock()
	if served {
		p.released() // batch lines may be next
	}
}
