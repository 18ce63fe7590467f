package upstreams

import (
	"slices"
	"time"

	"github.com/tidegate/tidegate/internal/openai"
)

// find returns the queue of a class for a model, nil if no request waits there. mu is
// held.
func (q *queue) find(class Class, model string) *modelQueue {
	for _, l := range q.queues[class] {
		if l.model == model {
			return l
		}
	}
	return nil
}

// join adds a request to its queue. mu is held.
func (q *queue) join(l *modelQueue, t *ticket, now time.Time) {
	if t.number == 0 {
		q.numbers++
		t.number = q.numbers
	}
	t.called, t.assigned, t.since = make(chan struct{}), nil, now
	if l.length == 0 {
		q.queues[l.class] = append(q.queues[l.class], l)
	}
	l.length++
	if len(t.tried) > 0 {
		e := l.retried.Back()
		for e != nil && e.Value.(*ticket).number > t.number {
			e = e.Prev()
		}
		if e == nil {
			t.place = l.retried.PushFront(t)
		} else {
			t.place = l.retried.InsertAfter(t, e)
		}
		return
	}
	at := l.byKey[t.key]
	if at == nil {
		at = l.ring.PushBack(&keyQueue{key: t.key})
		l.byKey[t.key] = at
	}
	t.place = at.Value.(*keyQueue).tickets.PushBack(t)
}

// remove removes a request from its queue. mu is held.
func (q *queue) remove(l *modelQueue, t *ticket) {
	if len(t.tried) > 0 {
		l.retried.Remove(t.place)
	} else {
		at := l.byKey[t.key]
		of := at.Value.(*keyQueue)
		of.tickets.Remove(t.place)
		if of.tickets.Len() == 0 {
			l.ring.Remove(at)
			delete(l.byKey, t.key)
		}
	}
	t.place = nil
	q.waiting[l.class].Add(-1)
	if l.length--; l.length == 0 {
		q.queues[l.class] = slices.DeleteFunc(q.queues[l.class], func(o *modelQueue) bool { return o == l })
	}
}

// dispatch dispatches waiting requests, live ones first, one model after the other.
// It reports whether a request was dispatched. mu is held.
func (q *queue) dispatch(p *Pool) (served bool) {
	s := p.now.Load()
	for class := range q.queues {
		for idle := 0; idle < len(q.queues[class]); {
			l := q.queues[class][0]
			q.queues[class] = append(q.queues[class][1:], l)
			idle++
			if q.dispatchNext(p, s, l) {
				idle, served = 0, true
			}
		}
	}
	return served
}

// dispatchNext dispatches the first request of a queue that can be served, or that no
// server is left for. Requests that have not been tried yet are equivalent, so that
// only the first of them is checked. mu is held.
func (q *queue) dispatchNext(p *Pool, s *snapshot, l *modelQueue) bool {
	for e := l.retried.Front(); e != nil; e = e.Next() {
		if q.dispatchTicket(p, s, l, e.Value.(*ticket)) {
			return true
		}
	}
	next := l.ring.Front()
	if next == nil {
		return false
	}
	of := next.Value.(*keyQueue)
	t := of.tickets.Front().Value.(*ticket)
	c, full := p.tryAdmit(s, t)
	switch r := l.overtaken(c); {
	case full:
		return false
	case r != nil:
		if l.class == Live { // the prompt is pending for the other request
			t.query.unreserve(c.upstream)
			r.query.reserve(c.upstream)
		}
		q.dispatchTo(l, r, c)
		return true
	}
	q.dispatchTo(l, t, c)
	if of.tickets.Len() > 0 {
		l.ring.MoveToBack(next)
	}
	return true
}

// overtaken returns the retried request that must get c, a server with a slot that a later
// request has taken: the slot became free after the retried ones were examined. nil if
// there is none.
func (l *modelQueue) overtaken(c *Candidate) *ticket {
	if c == nil || c.suspect.Load() { // trials are for requests that can be retried
		return nil
	}
	for e := l.retried.Front(); e != nil; e = e.Next() {
		if r := e.Value.(*ticket); !slices.Contains(r.tried, c.upstream) {
			return r
		}
	}
	return nil
}

// dispatchTicket dispatches a request if a server has a slot for it, or if no server
// is left. mu is held.
func (q *queue) dispatchTicket(p *Pool, s *snapshot, l *modelQueue, t *ticket) bool {
	c, full := p.tryAdmit(s, t)
	if full {
		return false
	}
	q.dispatchTo(l, t, c)
	return true
}

// dispatchTo dispatches a request to a server, nil if none is left for it. mu is held.
func (q *queue) dispatchTo(l *modelQueue, t *ticket, c *Candidate) {
	if c != nil {
		l.lastDispatch = time.Now()
	}
	t.assigned = c
	q.remove(l, t)
	close(t.called)
}

// empty reports whether no request waits.
func (q *queue) empty() bool { return q.waiting[Live].Load() == 0 && q.waiting[Batch].Load() == 0 }

// wake triggers dispatching.
func (q *queue) wake() {
	if q.empty() {
		return
	}
	select {
	case q.awake <- struct{}{}:
	default:
	}
}

// precedes reports whether requests wait for a model that batch lines must not
// overtake. Retried requests are ignored: they may wait for another server than the
// one that is free.
func (q *queue) precedes(model string) bool {
	if q.empty() {
		return false
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	for _, class := range [...]Class{Live, Batch} {
		if l := q.find(class, model); l != nil && l.ring.Len() > 0 {
			return true
		}
	}
	return false
}

// fullError returns the error for a request that finds the queue full.
func (l *modelQueue) fullError(s *snapshot, now time.Time) *openai.Error {
	if l.class == Batch {
		return openai.ResourceUnavailable(l.retryAfter(s, now), "The model '%s' has no room for flex requests now, and %d of them wait already.", clip(l.model), l.length)
	}
	return openai.Overloaded(l.retryAfter(s, now), "Every server of the model '%s' is at its limit, and %d requests wait already.", clip(l.model), l.length)
}

func (l *modelQueue) timeoutError(s *snapshot, now time.Time, waited time.Duration) *openai.Error {
	waited = waited.Round(time.Second / 10)
	if l.class == Batch {
		return openai.ResourceUnavailable(l.retryAfter(s, now), "The model '%s' had no room for a flex request within %s.", clip(l.model), waited)
	}
	return openai.Overloaded(l.retryAfter(s, now), "Every server of the model '%s' was at its limit for %s while the request waited.", clip(l.model), waited)
}
