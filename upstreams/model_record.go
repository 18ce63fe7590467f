package upstreams

import (
	"math"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"
)

const (
	// recordStep is the time resolution of the counts of live requests, recordSteps
	// the number of steps kept: recordWindow including the current step.
	recordStep   = 10 * time.Second
	recordSteps  = int(recordWindow / recordStep)
	recordWindow = 5 * time.Minute
	// recordsKept limits the number of models that are remembered after their servers
	// have dropped them.
	recordsKept = 1000
)

// modelRecord records the outcomes of a model's live requests, and since when no
// server accepts requests for it. Its memory is fixed.
type modelRecord struct {
	// placements counts live requests that were placed on a server.
	placements atomic.Uint64
	queues     [2]queueCounts // by Class
	duration   average        // of successful requests, without queueing
	prompts    promptTokens   // tokens per request, estimated

	mu            sync.Mutex
	begun         time.Time                // guarded by mu
	steps         [recordSteps]modelCounts // guarded by mu; a ring indexed by the number of the step
	total, failed int64                    // guarded by mu; of live requests, since begun
	out           streak                   // guarded by mu; no server accepts requests
	bad           streak                   // guarded by mu; requests failed, less than recordWindow apart
	last          time.Time                // guarded by mu; of the last failure
}

// modelCounts counts live requests that ended in one step.
type modelCounts struct {
	number        int64 // of the step since the Unix epoch; a different number means that the entry is unused
	total, failed int64
}

// streak is the duration of a state.
type streak struct {
	since  time.Time // zero: not in that state
	before int64     // modelRecord.failed at since
}

func newModelRecord(now time.Time) *modelRecord { return &modelRecord{begun: now} }

// count records a live request that ended.
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

// served records whether any server accepts requests for the model, and reports
// whether that changed.
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

// recent returns the counts of the last recordWindow. mu is held.
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

// record returns the record of a model that a server has reported, and creates it if
// needed. Pool.mu is held.
func (p *Pool) record(model string, now time.Time) *modelRecord {
	r := p.records[model]
	if r == nil {
		r = newModelRecord(now)
		p.records[model] = r
	}
	return r
}

// updateRecords updates since when models have no server, and removes the oldest
// records of models without a server beyond recordsKept. Pool.mu is held.
func (p *Pool) updateRecords(s *snapshot, now time.Time) {
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

// missingRecord returns the record for a request for a model that no server has.
// missing reports whether a server is missing: a server had the model, or a server
// that has not reported its models may have it.
func (p *Pool) missingRecord(model string) (r *modelRecord, missing bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if r := p.records[model]; r != nil {
		return r, true
	}
	return &p.unknownModels, slices.ContainsFunc(p.upstreams, func(u *upstream) bool { return !u.discovered })
}

// recordOutcome counts a live request that has ended. Requests whose client
// disconnected before the answer are not counted: their outcome is not known.
func (l *live) recordOutcome(now time.Time) {
	if l.done.Status == statusClientGone || l.done.Broken && !l.cutOff {
		return
	}
	r := l.record
	if r == nil {
		r = &l.proxy.pool.unknownModels
	}
	if l.done.Status < http.StatusBadRequest && !l.cutOff {
		r.duration.add(l.done.Duration - l.done.Queued)
	}
	r.count(now, l.cutOff || l.noServer || l.done.Status >= 500)
}
