package upstreams

import (
	"math"
	"net/http"
	"slices"
	"sync"
	"time"

	"go.uber.org/zap"
)

const (
	// recordStep is how finely live requests of a model are counted over time,
	// recordSteps how many steps are kept: recordWindow and the present one.
	recordStep   = 10 * time.Second
	recordSteps  = int(recordWindow / recordStep)
	recordWindow = 5 * time.Minute
	// recordsKept bounds the models that are remembered after their servers have
	// dropped them.
	recordsKept = 1000
)

// modelRecord is what is remembered of a model: how its live requests ended, and
// since when no server takes them. Its memory is fixed.
type modelRecord struct {
	queues   [2]queueCounts // by Class
	duration average        // of requests that were answered, without their time in a queue
	prompts  promptTokens   // how many tokens requests have

	mu            sync.Mutex
	begun         time.Time                // guarded by mu
	steps         [recordSteps]modelCounts // guarded by mu; a ring by the number of the step
	total, failed int64                    // guarded by mu; of live requests, since begun
	out           streak                   // guarded by mu; no server takes requests
	bad           streak                   // guarded by mu; requests failed, less than recordWindow apart
	last          time.Time                // guarded by mu; of the last failure
}

// modelCounts are live requests that ended in one step.
type modelCounts struct {
	number        int64 // of the step since the Unix epoch; another one's place is free
	total, failed int64
}

// streak is a state that lasts.
type streak struct {
	since  time.Time // zero: it does not
	before int64     // modelRecord.failed at since
}

func newModelRecord(now time.Time) *modelRecord { return &modelRecord{begun: now} }

// count takes note of a live request that ended.
func (r *modelRecord) count(now time.Time, failed bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	number := now.UnixNano() / int64(recordStep)
	s := &r.steps[number%int64(recordSteps)]
	if s.number != number {
		*s = modelCounts{number: number}
	}
	s.total++
	r.total++
	if !failed {
		return
	}
	if r.last.IsZero() || now.Sub(r.last) > recordWindow {
		r.bad = streak{now, r.failed}
	}
	r.last = now
	s.failed++
	r.failed++
}

// served takes note whether any server takes requests for the model, and reports
// whether that has changed.
func (r *modelRecord) served(now time.Time, available bool) (changed bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	was := r.out.since.IsZero()
	switch {
	case available:
		r.out = streak{}
	case was:
		r.out = streak{now, r.failed}
	}
	return was != available
}

// recent returns what ended in the last recordWindow. mu is held.
func (r *modelRecord) recent(now time.Time) LiveErrors {
	last := now.UnixNano() / int64(recordStep)
	first := last - int64(recordSteps) + 1
	from := time.Unix(0, first*int64(recordStep))
	if r.begun.After(from) {
		from = r.begun
	}
	e := LiveErrors{Seconds: int64(math.Ceil(now.Sub(from).Seconds()))}
	for _, s := range r.steps {
		if s.number >= first && s.number <= last {
			e.Requests += s.total
			e.Failed += s.failed
		}
	}
	return e
}

// record returns the record of a model that a server has told, or makes it.
// Pool.mu is held.
func (p *Pool) record(model string, now time.Time) *modelRecord {
	r := p.records[model]
	if r == nil {
		r = newModelRecord(now)
		p.records[model] = r
	}
	return r
}

// keepRecords brings the records up to a snapshot: since when models have no
// server. It forgets those longest without one beyond recordsKept. Pool.mu is
// held.
func (p *Pool) keepRecords(s *snapshot, now time.Time) {
	var gone []string
	for model, r := range p.records {
		at := s.models[model]
		available := at != nil && slices.ContainsFunc(at.up, func(c *Candidate) bool { return c.upstream.state != StateSuspect })
		changed := r.served(now, available)
		switch {
		case at == nil:
			gone = append(gone, model)
		case changed && available:
			p.log.Info("model has a server again", zap.String("model", model))
		case changed:
			p.log.Warn("no server takes requests for the model", zap.String("model", model))
		}
	}
	if len(gone) <= recordsKept {
		return
	}
	since := func(model string) time.Time {
		r := p.records[model]
		r.mu.Lock()
		defer r.mu.Unlock()
		return r.out.since
	}
	slices.SortFunc(gone, func(a, b string) int { return since(a).Compare(since(b)) })
	for _, model := range gone[:len(gone)-recordsKept] {
		delete(p.records, model)
	}
}

// wanted returns the record of a request for a model that no server has, and
// whether the want of a server is why it cannot be served: one had the model, or
// one that never told its models may have it.
func (p *Pool) wanted(model string) (r *modelRecord, missing bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if r := p.records[model]; r != nil {
		return r, true
	}
	return &p.nameless, slices.ContainsFunc(p.upstreams, func(u *upstream) bool { return !u.told })
}

// recordOutcome counts a live request that is over. Clients that left before
// their answer are not counted: what they would have got is not known.
func (l *live) recordOutcome(now time.Time) {
	if l.done.Status == statusClientGone || l.done.Broken && !l.cutOff {
		return
	}
	r := l.record
	if r == nil {
		r = &l.proxy.pool.nameless
	}
	if l.done.Status < http.StatusBadRequest && !l.cutOff {
		r.duration.add(l.done.Duration - l.done.Queued)
	}
	r.count(now, l.cutOff || l.noServer || l.done.Status >= 500)
}
