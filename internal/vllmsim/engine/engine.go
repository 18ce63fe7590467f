package engine

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"sync"
	"time"
)

// maxLag limits the lag of the engine's clock behind the wall clock on a busy machine. A
// larger lag is dropped as lost time.
const maxLag = 100 * time.Millisecond

var (
	// ErrFull reports that as many requests as allowed wait or run.
	ErrFull = errors.New("the engine is full")
	// ErrTooLong reports a request that the KV cache can never hold.
	ErrTooLong = errors.New("the request does not fit into the KV cache")
)

// Engine runs a Scheduler on the wall clock. It has a clock of its own that
// advances from step to step, so that late timers do not add up: a step that is
// noticed late is followed by one that began on time. It is safe for concurrent
// use. There is no goroutine while it is idle.
type Engine struct {
	spec  Spec
	limit int // of unfinished sequences; 0 for none

	mu        sync.Mutex
	sched     *Scheduler  // guarded by mu, like all that follows
	speed     float64     // all durations are divided by it
	now       time.Time   // the engine's clock: the end of the current or last step
	busy      bool        // a step is running
	frozen    bool        // no step ends
	stopped   bool        // no step ends or begins any more
	timer     *time.Timer // set for the end of the step
	incoming  []*Sequence // submitted since the last step was planned
	leaving   []*Sequence // aborted during the step
	live      int         // sequences that have not ended
	lost      time.Duration
	published func(Snapshot)
}

// Config configures an Engine.
type Config struct {
	Spec Spec
	Options

	// Speed divides all durations. Default: 1.
	Speed float64

	// MaxUnfinished limits the sequences that wait or run, as vLLM's
	// --max-num-queued-reqs does. Default: no limit.
	MaxUnfinished int

	// Published, if not nil, is called at the end of each step and when a
	// sequence comes or leaves between steps, with the lock held: it must not
	// call the engine.
	Published func(Snapshot)
}

// New returns an idle engine.
func New(cfg Config) *Engine {
	if cfg.Speed <= 0 {
		cfg.Speed = 1
	}
	return &Engine{
		spec:      cfg.Spec,
		sched:     NewScheduler(cfg.Spec, cfg.Options),
		speed:     cfg.Speed,
		limit:     cfg.MaxUnfinished,
		published: cfg.Published,
	}
}

// Snapshot is the state of an engine between two steps.
type Snapshot struct {
	At          time.Time // of the engine's clock
	Running     int
	Waiting     int // passed over by the scheduler at least once
	Arriving    int // since the current step began
	MaxRunning  int // most at once since ResetMax
	Preemptions int
	KVUsed      int // blocks
	KVTotal     int // blocks
	MaxNumSeqs  int
	Lost        time.Duration // time given up because the machine was too slow
}

// Submit puts sequences, which belong together, into the engine. It returns
// ErrFull or ErrTooLong if it takes none of them.
func (e *Engine) Submit(requests ...Request) ([]*Sequence, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.limit > 0 && e.live+len(requests) > e.limit {
		return nil, ErrFull
	}
	for _, r := range requests {
		if n := r.Prompt.Tokens + r.MaxTokens; !e.sched.Fits(n) {
			return nil, fmt.Errorf("%d tokens: %w", n, ErrTooLong)
		}
	}
	arrived := time.Now()
	seqs := make([]*Sequence, len(requests))
	for i, r := range requests {
		seqs[i] = &Sequence{Request: r, arrived: arrived}
	}
	e.live += len(seqs)
	e.incoming = append(e.incoming, seqs...)
	e.proceed()
	if !e.stepEnds() {
		e.publish()
	}
	return seqs, nil
}

// Abort takes sequences out that have not finished: at once between steps, else
// at the end of the step.
func (e *Engine) Abort(seqs ...*Sequence) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, q := range seqs {
		switch {
		case q.state == finished || q.state == aborted:
		case q.state == arriving:
			e.incoming = slices.DeleteFunc(e.incoming, func(r *Sequence) bool { return r == q })
			q.state = aborted
			e.live--
		case q.state == running && e.busy:
			if !slices.Contains(e.leaving, q) {
				e.leaving = append(e.leaving, q)
			}
		default:
			e.sched.Remove(q)
			e.live--
		}
	}
	e.proceed()
	if !e.stepEnds() {
		e.publish()
	}
}

// SetMaxNumSeqs changes how many sequences run at once. Those beyond it finish.
func (e *Engine) SetMaxNumSeqs(n int) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.spec.MaxNumSeqs = n
	e.sched.spec.MaxNumSeqs = n
	e.proceed()
}

// SetSpeed changes the divisor of durations, from the next step on.
func (e *Engine) SetSpeed(speed float64) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.speed = speed
}

// Freeze stops all progress until it is taken back: a healthy engine that
// hangs.
func (e *Engine) Freeze(frozen bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.frozen && !frozen && e.busy {
		e.now = time.Now()
		e.arm()
	}
	e.frozen = frozen
	e.proceed()
}

// Stop ends all progress.
func (e *Engine) Stop() {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.stopped = true
	if e.timer != nil {
		e.timer.Stop()
	}
}

// Snapshot returns the state of now.
func (e *Engine) Snapshot() Snapshot {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.snapshot()
}

func (e *Engine) snapshot() Snapshot {
	at := e.now
	if !e.stepEnds() {
		at = time.Now()
	}
	return Snapshot{
		At:      at,
		Running: len(e.sched.running), Waiting: e.sched.queue.len(), Arriving: len(e.incoming), MaxRunning: e.sched.maxRunning,
		Preemptions: e.sched.preemptions,
		KVUsed:      e.sched.pool.used(), KVTotal: e.sched.pool.total(),
		MaxNumSeqs: e.spec.MaxNumSeqs, Lost: e.lost,
	}
}

// ResetMax resets Snapshot.MaxRunning.
func (e *Engine) ResetMax() {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.sched.maxRunning = len(e.sched.running)
}

// Spec returns the specification of the engine, with the current MaxNumSeqs.
func (e *Engine) Spec() Spec {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.spec
}

// Speed returns the divisor of durations.
func (e *Engine) Speed() float64 {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.speed
}

func (e *Engine) publish() {
	if e.published != nil {
		e.published(e.snapshot())
	}
}

// stepEnds reports whether a step is running that will end. The caller holds mu.
func (e *Engine) stepEnds() bool { return e.busy && !e.frozen && !e.stopped }

// proceed begins a step if none is running and there is work for one. The caller holds
// mu.
func (e *Engine) proceed() {
	if e.busy || e.frozen || e.stopped || e.live == 0 {
		return
	}
	// An engine that was idle begins with the first arrival.
	if wall := time.Now(); e.now.Before(wall) {
		e.now = wall
	}
	e.begin()
}

// begin plans a step at the engine's time and sets the timer for its end. The
// caller holds mu.
func (e *Engine) begin() {
	taken := 0
	for _, q := range e.incoming {
		if q.arrived.After(e.now) {
			break // while the engine's clock was behind
		}
		e.sched.Add(q)
		taken++
	}
	e.incoming = slices.Delete(e.incoming, 0, taken)
	step, ok := e.sched.Plan(e.now)
	if !ok && len(e.incoming) > 0 {
		e.now = e.incoming[0].arrived
		e.begin()
		return
	}
	e.busy = ok
	if !ok {
		return // only stalled sequences wait or run
	}
	took := e.spec.StepTime(step.Decodes, step.Context, step.Prefill)
	e.now = e.now.Add(time.Duration(math.Round(float64(took) / e.speed)))
	e.arm()
}

// arm sets the timer for the end of the step. The caller holds mu.
func (e *Engine) arm() {
	left := time.Until(e.now)
	if e.timer == nil {
		e.timer = time.AfterFunc(left, e.tick)
		return
	}
	e.timer.Reset(left)
}

// tick ends the current step, and all that should have ended since.
func (e *Engine) tick() {
	e.mu.Lock()
	defer e.mu.Unlock()
	for e.stepEnds() {
		wall := time.Now()
		if e.now.After(wall) {
			e.arm()
			return
		}
		if late := wall.Sub(e.now); late > maxLag {
			e.lost += late
			e.now = wall
		}
		e.end()
		if e.live > 0 {
			e.begin()
		}
	}
}

// end applies the current step. The caller holds mu.
func (e *Engine) end() {
	before := len(e.sched.running)
	e.sched.Commit(e.now)
	e.live -= before - len(e.sched.running)
	e.busy = false
	for _, q := range e.leaving {
		if q.state != finished {
			e.sched.Remove(q)
			e.live--
		}
	}
	clear(e.leaving)
	e.leaving = e.leaving[:0]
	e.publish()
}
