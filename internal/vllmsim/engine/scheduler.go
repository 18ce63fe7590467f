package engine

import (
	"slices"
	"time"
)

// Options override the scheduling of a Spec.
type Options struct {
	// Priority schedules by priority and then by arrival, as after
	// --scheduling-policy priority.
	Priority bool

	// NoPrefixCaching disables the prefix cache.
	NoPrefixCaching bool

	// Observer, if not nil, receives the events for the engine's metrics.
	Observer Observer
}

// Observer receives the events for vLLM's metrics. Its methods are called with the engine's
// lock held and must not call the engine.
type Observer interface {
	// Stepped is called at the end of each step, with the prompt and decode
	// tokens that it computed.
	Stepped(tokens int)
	// Looked is called when a sequence is first scheduled, with the numbers of
	// prompt tokens that were queried in the prefix cache and found there.
	Looked(queries, hits int)
	// Generated is called for each token. first is set for a sequence's first
	// one, and since is then counted from its arrival, else from the token
	// before it.
	Generated(q *Sequence, first bool, since time.Duration)
	// Finished is called for each sequence that has run to its end.
	Finished(q *Sequence)
}

// Step is one step of the engine.
type Step struct {
	Decodes int // sequences that decode
	Context int // tokens of context of these
	Prefill int // prompt tokens
}

// work is the part of a sequence in a step.
type work struct {
	seq    *Sequence
	tokens int
	decode bool
}

// Scheduler plans the steps of an engine. It is not safe for concurrent use.
type Scheduler struct {
	spec    Spec
	opt     Options
	pool    *blockPool
	queue   waitingQueue
	running []*Sequence // in the order of admission
	plan    []work      // of the current step
	arrived uint64

	preemptions int
	maxRunning  int
}

// NewScheduler returns an idle scheduler.
func NewScheduler(spec Spec, opt Options) *Scheduler {
	return &Scheduler{spec: spec, opt: opt, pool: newBlockPool(spec.blocks()), queue: waitingQueue{byPriority: opt.Priority}}
}

// Fits reports whether the KV cache can hold a request of this size at all.
func (s *Scheduler) Fits(tokens int) bool { return tokens <= s.pool.total()*s.spec.BlockSize }

// Add puts a sequence, which must fit, into the waiting queue.
func (s *Scheduler) Add(q *Sequence) {
	s.arrived++
	q.order = s.arrived
	q.salt = s.arrived * 0xd1342543de82ef95
	q.cached.Store(-1)
	s.queue.push(q)
}

// Remove takes a sequence out. It must not be part of the current step.
func (s *Scheduler) Remove(q *Sequence) {
	switch q.state {
	case waiting:
		s.queue.remove(q)
	case running:
		s.running = slices.DeleteFunc(s.running, func(r *Sequence) bool { return r == q })
		s.free(q)
	case arriving, finished, aborted:
	}
	q.state = aborted
}

func (s *Scheduler) free(q *Sequence) {
	s.pool.release(q.blocks)
	q.blocks, q.kept, q.chain, q.computed = q.blocks[:0], 0, 0, 0
}

// Plan decides what the next step at this moment computes. It reports false
// when there is nothing to compute.
func (s *Scheduler) Plan(now time.Time) (Step, bool) {
	s.plan = s.plan[:0]
	budget := s.spec.MaxNumBatchedTokens
	preempted := s.planRunning(&budget)
	if !preempted {
		s.planWaiting(now, &budget)
	}
	s.maxRunning = max(s.maxRunning, len(s.running))
	var step Step
	for _, w := range s.plan {
		if w.decode {
			step.Decodes++
			step.Context += w.seq.tokens()
		} else {
			step.Prefill += w.tokens
		}
	}
	return step, len(s.plan) > 0
}

// planRunning assigns tokens to running sequences, and reports whether one had to
// be preempted for that.
func (s *Scheduler) planRunning(budget *int) (preempted bool) {
	for i := 0; i < len(s.running) && *budget > 0; i++ {
		q := s.running[i]
		if q.stalled() {
			continue
		}
		n := min(q.tokens()-q.computed, *budget)
		for !s.allocate(q, n, nil) {
			preempted = true
			at := s.victim()
			v := s.running[at]
			s.preempt(at, budget)
			if v == q {
				return true
			}
			if at < i {
				i--
			}
		}
		s.plan = append(s.plan, work{seq: q, tokens: n, decode: q.decodes()})
		*budget -= n
	}
	return preempted
}

// victim is the running sequence that would be missed least.
func (s *Scheduler) victim() int {
	last := len(s.running) - 1
	if !s.opt.Priority {
		return last
	}
	for i, q := range s.running {
		if s.queue.before(s.running[last], q) {
			last = i
		}
	}
	return last
}

// preempt takes the blocks of a running sequence and lets it wait again.
func (s *Scheduler) preempt(at int, budget *int) {
	q := s.running[at]
	s.running = slices.Delete(s.running, at, at+1)
	for i, w := range s.plan {
		if w.seq == q {
			*budget += w.tokens
			s.plan = slices.Delete(s.plan, i, i+1)
			break
		}
	}
	s.free(q)
	q.preemptions++
	s.preemptions++
	s.queue.push(q)
}

// planWaiting admits sequences while budget, places and blocks last.
func (s *Scheduler) planWaiting(now time.Time, budget *int) {
	for *budget > 0 && s.queue.len() > 0 && len(s.running) < s.spec.MaxNumSeqs {
		q := s.queue.peek()
		hits := s.hits(q)
		n := min(q.tokens()-len(hits)*s.spec.BlockSize, *budget)
		if q.stalled() {
			hits, n = nil, 0
		}
		if !s.allocate(q, n, hits) {
			return
		}
		s.queue.remove(q)
		q.state = running
		s.running = append(s.running, q)
		if q.scheduled.IsZero() {
			q.scheduled = now
			q.cached.Store(int32(q.computed))
			if s.opt.Observer != nil && !s.opt.NoPrefixCaching {
				s.opt.Observer.Looked(q.Prompt.Tokens, q.computed)
			}
		}
		if n > 0 {
			s.plan = append(s.plan, work{seq: q, tokens: n})
			*budget -= n
		}
	}
}

// hits are the leading blocks of a sequence that the prefix cache has. The last
// token is always computed: it gives the next one.
func (s *Scheduler) hits(q *Sequence) []blockID {
	if s.opt.NoPrefixCaching {
		return nil
	}
	var hits []blockID
	var chain uint64
	for i := range (q.tokens() - 1) / s.spec.BlockSize {
		chain = q.hash(i, chain)
		id, ok := s.pool.find(chain)
		if !ok {
			break
		}
		hits = append(hits, id)
	}
	return hits
}

// allocate makes room for n more tokens of a sequence, behind the blocks that
// hits, from the prefix cache, hold. It changes nothing when there is none.
func (s *Scheduler) allocate(q *Sequence, n int, hits []blockID) bool {
	computed := q.computed + len(hits)*s.spec.BlockSize
	need := (computed+n+s.spec.BlockSize-1)/s.spec.BlockSize - len(q.blocks) - len(hits)
	unused := 0 // hits that are in the free list themselves
	for _, id := range hits {
		if s.pool.blocks[id].refs == 0 {
			unused++
		}
	}
	if need+unused > s.pool.free {
		return false
	}
	for _, id := range hits {
		s.pool.share(id)
		q.blocks = append(q.blocks, id)
		q.chain = s.pool.blocks[id].hash
	}
	q.kept += len(hits)
	q.computed = computed
	for range need {
		q.blocks = append(q.blocks, s.pool.take())
	}
	if !s.opt.NoPrefixCaching {
		for ; (q.kept+1)*s.spec.BlockSize <= computed+n; q.kept++ {
			q.chain = q.hash(q.kept, q.chain)
			s.pool.keep(q.blocks[q.kept], q.chain)
		}
	}
	return true
}

// Commit applies the planned step, which has ended at this moment.
func (s *Scheduler) Commit(now time.Time) {
	tokens, ended := 0, false
	for _, w := range s.plan {
		q := w.seq
		tokens += w.tokens
		q.computed += w.tokens
		if q.computed < q.tokens() {
			continue // a chunk of a prefill
		}
		if q.MaxTokens > 0 {
			s.generate(q, now)
		}
		if q.Generated() >= q.MaxTokens {
			ended = true
			q.state, q.last = finished, now
			s.free(q)
			if s.opt.Observer != nil {
				s.opt.Observer.Finished(q)
			}
			q.done.Store(true)
			q.signal()
		}
	}
	s.plan = s.plan[:0]
	if ended {
		s.running = slices.DeleteFunc(s.running, func(q *Sequence) bool { return q.state == finished })
	}
	if s.opt.Observer != nil {
		s.opt.Observer.Stepped(tokens)
	}
}

// generate appends the next token to a sequence.
func (s *Scheduler) generate(q *Sequence, now time.Time) {
	first := q.first.IsZero()
	since := q.last
	if first {
		q.first, since = now, q.arrived
	}
	q.last = now
	n := int(q.generated.Add(1))
	if s.opt.Observer != nil {
		s.opt.Observer.Generated(q, first, now.Sub(since))
	}
	if n >= q.WakeAt {
		q.signal()
	}
}
