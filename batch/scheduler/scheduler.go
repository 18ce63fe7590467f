package scheduler

import (
	"context"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"github.com/tidegate/tidegate/batch"
	"github.com/tidegate/tidegate/internal/background"
	"github.com/tidegate/tidegate/internal/wait"
)

// Scheduler sends the lines of active batches to free slots of the upstreams. One
// goroutine, the loop, owns all its state except the mailbox, the committer and the
// metrics; other goroutines post functions to it. The loop does no I/O: loads, refreshes,
// renewals and attempts run beside it and post their results.
type Scheduler struct {
	*mailbox
	deps      Dependencies
	metrics   Metrics
	committer *committer

	// Owned by the loop:
	deadlines deadlines       // what is to be done later
	refreshes refreshes       // when the store is asked for the active batches
	rotation  *rotation       // which batches have a place
	queues    *queueSet       // the lines of these that are in memory
	picker    *picker         // which line starts next, and on which upstream
	limits    *clientLimits   // which clients have reached a limit
	models    *models         // which models have no upstream or too few slots
	leases    *leases         // until when slices are claimed
	releases  *releases       // slices that are given up
	outage    outage          // whether the store answers
	breaker   *circuitBreaker // batches whose lines fail in a row
	memory    *memoryPressure // whether slots are idle because the memory limit is reached
	inFlight  int             // lines running or finished, not durable
	noSpace   bool            // the files have no space for results
	closed    bool            // no line may start at this time of day, or in this role
	stopping  bool            // Drain was called

	served atomic.Pointer[[]batch.Batch] // the active batches of the last refresh

	commits *background.Group // the committer, which outlives the attempts; Stop abandons its results
	loop    *background.Group // the loop
	lines   *background.Group // attempts; Stop aborts them
	side    *background.Group // I/O beside the loop; aborted with the attempts
}

// Dependencies connect a Scheduler with the rest of the gateway.
type Dependencies struct {
	Config     func() *batch.Config // returns the current settings
	Owner      string               // of leases
	Store      Store
	Queue      batch.Queue
	Files      batch.Files
	Dispatcher batch.Dispatcher
	Health     HealthReporter
	// Gateways returns the number of gateways that work on batches of the store, with
	// this one.
	Gateways func() int
	// NoteQueue records the outcome of a queue operation.
	NoteQueue func(error)
	// WakeWorkers makes the workers of this gateway look for batches to finalize.
	WakeWorkers func()
	// Notify notifies all gateways that batches have changed.
	Notify func()
	Log    *zap.Logger
}

// Store is the part of a Store that a Scheduler needs.
type Store interface {
	batch.WorkStore
	// PauseBatch is that of ControlStore.
	PauseBatch(ctx context.Context, tenant, id, reason string) (batch.Batch, error)
}

// HealthReporter records errors that hold up batch work.
type HealthReporter interface {
	// Note records the error of a part, nil when it works.
	Note(part string, err error)
	// NoteModel records why no line of a model can be sent, nil when lines can.
	NoteModel(model string, err error)
	// NoteBatch records the error of a batch of a tenant, nil when there is none; the
	// tenant is not needed then.
	NoteBatch(id, tenant string, err error)
}

// New returns a Scheduler. It does no I/O and starts nothing.
func New(d Dependencies) *Scheduler {
	memory := func() int64 { return d.Config().MemoryBytes }
	s := &Scheduler{mailbox: newMailbox(), deps: d, queues: newQueueSet(memory), breaker: newCircuitBreaker()}
	s.metrics.lines = newLineMetrics()
	s.models = newModels(&s.deps)
	s.limits = newClientLimits(&s.deps, &s.deadlines)
	s.rotation = newRotation(&s.deps, s.queues, s.models, s.limits, &s.deadlines, s.Wake)
	s.picker = newPicker(&s.deps, s.queues, s.limits)
	s.leases = &leases{queues: s.queues}
	s.releases = &releases{queues: s.queues}
	s.memory = &memoryPressure{deps: &s.deps, queues: s.queues, metrics: &s.metrics}
	s.committer = newCommitter(&s.deps, func(group []finishedLine, stale []batch.SliceClaim) {
		s.post(func() { s.committed(group, stale) })
	})
	return s
}

// Start starts the loop and the committer.
func (s *Scheduler) Start() {
	s.commits = background.NewGroup(context.Background())
	s.loop = background.NewGroup(s.commits.Context())
	s.lines = background.NewGroup(s.commits.Context())
	s.side = background.NewGroup(s.lines.Context())
	s.refreshes.due = true
	s.every(func() time.Duration { return refreshEvery(s.deps.Config()) }, func() { s.refreshes.due = true })
	s.every(func() time.Duration { return s.deps.Config().LeaseRenew }, s.renew)
	s.commits.Start(s.committer.run)
	s.loop.Start(s.run)
	s.Wake()
}

// every makes the loop run f again and again, with a pause of interval.
func (s *Scheduler) every(interval func() time.Duration, f func()) {
	s.deadlines.at(time.Now().Add(interval()), func() {
		f()
		s.every(interval, f)
	})
}

// run is the loop.
func (s *Scheduler) run(ctx context.Context) {
	deadline := time.NewTimer(idleWait)
	defer deadline.Stop()
	for {
		deadline.Reset(s.deadlines.wait(time.Now()))
		select {
		case <-ctx.Done():
			return
		case <-s.bell:
		case <-s.deps.Dispatcher.Freed():
		case <-deadline.C:
		}
		s.deadlines.run(time.Now())
		s.deliver()
		if !s.stopping {
			s.schedule()
		}
		s.flushReleases()
		s.metrics.inFlight.Store(int64(s.inFlight))
		s.metrics.memory.Store(s.queues.budget.used.bytes())
	}
}

// schedule starts everything that can start now.
func (s *Scheduler) schedule() {
	s.checkHours()
	if s.refreshes.ready(time.Now()) {
		s.refresh()
	}
	s.startLines()
	s.prefetch()
}

// storeTimeout limits each statement of the scheduler.
const storeTimeout = 30 * time.Second

func bounded(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeout(ctx, storeTimeout)
}

// Drain starts no more lines, waits for those that run and commits their results. When
// ctx ends it aborts the lines, and after commitGrace it abandons the results.
func (s *Scheduler) Drain(ctx context.Context) {
	stopped := make(chan struct{})
	s.post(func() {
		s.stopping = true
		for _, q := range s.queues.byID {
			s.releases.unstarted(q)
		}
		close(stopped)
	})
	<-stopped
	giveUp := context.AfterFunc(ctx, s.lines.Stop)
	s.lines.Wait()
	giveUp()
	s.committer.finish()
	giveUp = context.AfterFunc(ctx, func() {
		if wait.Sleep(s.commits.Context(), commitGrace) {
			s.commits.Stop()
		}
	})
	defer giveUp()
	s.commits.Wait()
}

// Stop ends the loop and releases the slices that were not finished.
func (s *Scheduler) Stop() {
	s.commits.Stop()
	s.commits.Wait()
	s.loop.Wait()
	s.lines.Stop()
	for posted := true; posted; {
		s.side.WaitIdle() // the slices of the last loads are released as well
		posted = s.deliver()
	}
	s.side.Wait()
	s.releaseRest()
}
