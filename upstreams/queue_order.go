package upstreams

import (
	"slices"
	"time"

	"github.com/tidegate/tidegate/internal/openai"
)

// find returns the line of a class for a model, nil when nothing waits there. mu is held.
func (q *queue) find(class Class, model string) *line {
	for _, l := range q.lines[class] {
		if l.model == model {
			return l
		}
	}
	return nil
}

// join puts a request into its place. mu is held.
func (q *queue) join(l *line, t *ticket, now time.Time) {
	if t.number == 0 {
		q.numbers++
		t.number = q.numbers
	}
	t.called, t.seat, t.since = make(chan struct{}), nil, now
	if l.length == 0 {
		q.lines[l.class] = append(q.lines[l.class], l)
	}
	l.length++
	if len(t.tried) > 0 {
		e := l.returned.Back()
		for e != nil && e.Value.(*ticket).number > t.number {
			e = e.Prev()
		}
		if e == nil {
			t.place = l.returned.PushFront(t)
		} else {
			t.place = l.returned.InsertAfter(t, e)
		}
		return
	}
	at := l.byKey[t.key]
	if at == nil {
		at = l.ring.PushBack(&keyLine{key: t.key})
		l.byKey[t.key] = at
	}
	t.place = at.Value.(*keyLine).tickets.PushBack(t)
}

// remove takes a request out of its line. mu is held.
func (q *queue) remove(l *line, t *ticket) {
	if len(t.tried) > 0 {
		l.returned.Remove(t.place)
	} else {
		at := l.byKey[t.key]
		of := at.Value.(*keyLine)
		of.tickets.Remove(t.place)
		if of.tickets.Len() == 0 {
			l.ring.Remove(at)
			delete(l.byKey, t.key)
		}
	}
	t.place = nil
	q.waiting[l.class].Add(-1)
	if l.length--; l.length == 0 {
		q.lines[l.class] = slices.DeleteFunc(q.lines[l.class], func(o *line) bool { return o == l })
	}
}

// handOut hands out what is free: to live requests first, to one model after the
// other. It reports whether a request got on. mu is held.
func (q *queue) handOut(p *Pool) (served bool) {
	s := p.now.Load()
	for class := range q.lines {
		for idle := 0; idle < len(q.lines[class]); {
			l := q.lines[class][0]
			q.lines[class] = append(q.lines[class][1:], l)
			idle++
			if q.callNext(p, s, l) {
				idle, served = 0, true
			}
		}
	}
	return served
}

// callNext calls the first request of a line that can be served, or that no
// server is left for. Those that no server has failed yet can be served alike, so
// that the first of them is as good as all. mu is held.
func (q *queue) callNext(p *Pool, s *snapshot, l *line) bool {
	for e := l.returned.Front(); e != nil; e = e.Next() {
		if q.call(p, s, l, e.Value.(*ticket)) {
			return true
		}
	}
	next := l.ring.Front()
	if next == nil || !q.call(p, s, l, next.Value.(*keyLine).tickets.Front().Value.(*ticket)) {
		return false
	}
	if next.Value.(*keyLine).tickets.Len() > 0 {
		l.ring.MoveToBack(next)
	}
	return true
}

// call calls a request, if there is a reason. mu is held.
func (q *queue) call(p *Pool, s *snapshot, l *line, t *ticket) bool {
	c, full := p.takeSeat(s, t)
	if full {
		return false
	}
	if c != nil {
		l.moving = time.Now()
	}
	t.seat = c
	q.remove(l, t)
	close(t.called)
	return true
}

// empty reports whether nothing waits.
func (q *queue) empty() bool { return q.waiting[Live].Load() == 0 && q.waiting[Batch].Load() == 0 }

// wake has what waits looked at.
func (q *queue) wake() {
	if q.empty() {
		return
	}
	select {
	case q.awake <- struct{}{}:
	default:
	}
}

// goesFirst reports whether requests wait for a model that a batch line must not
// overtake. Those that a server has failed are left out: they may wait for another
// server than the one that is free.
func (q *queue) goesFirst(model string) bool {
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

// full is the error for a request that finds the line full, late that for one that
// has waited for waited.
func (l *line) full(s *snapshot, now time.Time) *openai.Error {
	if l.class == Batch {
		return openai.ResourceUnavailable(l.retryAfter(s, now), "The model '%s' has no room for flex requests now, and %d of them wait already.", clip(l.model), l.length)
	}
	return openai.Overloaded(l.retryAfter(s, now), "Every server of the model '%s' is at its limit, and %d requests wait already.", clip(l.model), l.length)
}

func (l *line) late(s *snapshot, now time.Time, waited time.Duration) *openai.Error {
	waited = waited.Round(time.Second / 10)
	if l.class == Batch {
		return openai.ResourceUnavailable(l.retryAfter(s, now), "The model '%s' had no room for a flex request within %s.", clip(l.model), waited)
	}
	return openai.Overloaded(l.retryAfter(s, now), "Every server of the model '%s' was at its limit for %s while the request waited.", clip(l.model), waited)
}
