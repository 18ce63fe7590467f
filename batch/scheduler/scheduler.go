package scheduler

import (
	"context"
	"maps"
	"slices"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"github.com/tidegate/tidegate/batch"
	"github.com/tidegate/tidegate/internal/background"
	"github.com/tidegate/tidegate/internal/wait"
)

// Scheduler sends the lines of active batches to free slots of the upstreams. One
// goroutine, the loop, owns all its state; other goroutines post functions to it. The
// loop does no I/O: loads, refreshes, renewals and lines run beside it.
type Scheduler struct {
	*mailbox
	deps     Dependencies
	commit   *committer
	counters counters

	// Owned by the loop:
	deadlines    deadlines
	queues       map[string]*batchQueue
	active       map[string]batch.Batch // InProgress, by the last refresh
	rotation     []string               // active batches without a batch queue, whose turn is next first
	noneFits     time.Time              // until when none of them is looked for that could have a free place
	noneDue      time.Time              // until when none is looked for to follow another
	inFlight     int                    // lines running or finished, not durable
	suspect      *line                  // a line that may take its upstream down runs alone
	stopping     bool
	refreshing   bool
	refreshDue   bool
	refreshFrom  time.Time // no refresh is begun before
	epoch        int       // goes up when an answer to a refresh that is under way is out of date
	noSpace      bool
	closed       bool                 // no line may start at this time of day, or by the role
	idle         []batch.Release      // to be released
	outage       bool                 // the store failed, and has not answered a refresh since
	asked        time.Time            // since when a refresh waits for the store; zero: none does
	patience     time.Time            // until when leases that ended are left alone
	held         time.Time            // until when every claim is surely ours; zero without one
	renewing     bool                 // a renewal that failed is about to be repeated
	unroutable   map[string]bool      // models without any upstream, kept in health
	saturated    map[string]saturated // models of which more lines wait than there are slots for
	named        map[string]bool      // Model of active batches, by the last refresh
	backoffUntil map[string]time.Time // batches that are left alone until then
	streaks      map[string]*streak   // of failures, by batch
	halting      map[string]bool      // batches of which the store is being told that they are paused

	memory inputMemory

	inFlightNow atomic.Int64                  // inFlight, for others to read
	served      atomic.Pointer[[]batch.Batch] // the active batches of the last refresh, for others to read

	commits *background.Group // the committer, which outlives the lines; Stop gives up to commit
	loop    *background.Group // the loop
	lines   *background.Group // attempts; Stop aborts them
	side    *background.Group // statements and reads beside the loop, aborted with the lines
}

// Dependencies connect a Scheduler with the rest of the gateway.
type Dependencies struct {
	Config     func() *batch.Config // the current settings
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
	// Notify tells all gateways that batches have changed.
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
	// NoteBatch records the error of a batch, nil when there is none.
	NoteBatch(id string, err error)
}

// New returns a Scheduler. It does no I/O and starts nothing.
func New(d Dependencies) *Scheduler {
	r := &Scheduler{
		mailbox: newMailbox(), deps: d, queues: make(map[string]*batchQueue), active: make(map[string]batch.Batch), backoffUntil: make(map[string]time.Time),
		streaks: make(map[string]*streak), halting: make(map[string]bool), unroutable: make(map[string]bool), saturated: make(map[string]saturated),
	}
	r.counters.lines = newLineMetrics()
	r.commit = newCommitter(r)
	return r
}

// refreshInterval is how often the store is asked at least which batches are
// active, when nobody said that something changed.
const refreshInterval = time.Second

// Start starts the loop and the committer.
func (r *Scheduler) Start() {
	r.commits = background.NewGroup(context.Background())
	r.loop = background.NewGroup(r.commits.Context())
	r.lines = background.NewGroup(r.commits.Context())
	r.side = background.NewGroup(r.lines.Context())
	r.commits.Start(r.commit.run)
	r.refreshRegularly()
	r.deadlines.at(time.Now().Add(r.deps.Config().LeaseRenew), r.renewRegularly)
	r.loop.Start(r.run)
	r.Wake()
}

func (r *Scheduler) run(ctx context.Context) {
	deadline := time.NewTimer(idleWait)
	defer deadline.Stop()
	for {
		deadline.Reset(r.deadlines.wait(time.Now()))
		select {
		case <-ctx.Done():
			return
		case <-r.bell:
		case <-r.deps.Dispatcher.Freed():
		case <-deadline.C:
		}
		r.deadlines.run(time.Now())
		r.mailbox.run()
		r.schedule()
		r.flushReleases()
		r.inFlightNow.Store(int64(r.inFlight))
		r.memory.published.Store(r.memory.taken)
	}
}

// refreshRegularly asks the store for the active batches now and from then on.
func (r *Scheduler) refreshRegularly() {
	r.refreshDue = true
	r.deadlines.at(time.Now().Add(refreshEvery(r.deps.Config())), r.refreshRegularly)
}

// renewRegularly renews all leases now and from then on.
func (r *Scheduler) renewRegularly() {
	r.renew()
	r.deadlines.at(time.Now().Add(r.deps.Config().LeaseRenew), r.renewRegularly)
}

// storeTimeout limits each statement of the scheduler.
const storeTimeout = 30 * time.Second

func (r *Scheduler) bounded(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeout(ctx, storeTimeout)
}

// schedule starts all that can start now.
func (r *Scheduler) schedule() {
	if r.stopping {
		return
	}
	r.keepHours()
	if r.refreshDue && !r.refreshing && !time.Now().Before(r.refreshFrom) {
		r.refresh()
	}
	r.startLines()
	r.prefetchAll()
}

// Refresh has the store asked which batches are active.
func (r *Scheduler) Refresh() {
	r.post(func() { r.refreshDue = true })
}

// ActiveLimit bounds how many active batches are looked at in one refresh.
const ActiveLimit = 10_000

// refreshDelay is how long there is from one refresh to the next at least, for
// each batch that it brought: batches that are created one after the other, each
// of which asks for a refresh, do not make it the work of all processors.
const refreshDelay = 50 * time.Microsecond

func (r *Scheduler) refresh() {
	began, epoch := time.Now(), r.epoch
	r.refreshing, r.refreshDue, r.asked = true, false, began
	r.side.Start(func(ctx context.Context) {
		ctx, cancel := r.bounded(ctx)
		defer cancel()
		batches, err := r.deps.Store.ActiveBatches(ctx, ActiveLimit)
		r.post(func() {
			r.deps.Health.Note("looking for active batches", err)
			r.storeAnswered(err)
		})
		space := r.deps.Files.Ping(ctx)
		r.post(func() {
			r.refreshing = false
			r.delayRefresh(began, len(batches))
			r.deps.Health.Note("storing files", space)
			r.noSpace = space != nil
			switch {
			case err != nil:
			case epoch != r.epoch:
				r.refreshDue = true
			default:
				r.refreshed(batches)
			}
		})
	})
}

// delayRefresh has the store left alone for a while after a refresh.
func (r *Scheduler) delayRefresh(began time.Time, batches int) {
	r.refreshFrom = began.Add(min(time.Duration(batches)*refreshDelay, refreshEvery(r.deps.Config())))
	if r.refreshFrom.After(time.Now()) {
		r.deadlines.at(r.refreshFrom, nil)
	}
}

// refreshed handles which batches are active, the most urgent first.
func (r *Scheduler) refreshed(batches []batch.Batch) {
	r.served.Store(&batches)
	now := make(map[string]batch.Batch, len(batches))
	paused := make(map[string]bool)
	for _, b := range batches {
		if b.PausedAt.IsZero() && !r.halting[b.ID] && !r.closed {
			now[b.ID] = b
		} else {
			paused[b.ID] = true
			r.suspend(b)
		}
	}
	if len(batches) < ActiveLimit { // else what is missing may just be far behind
		for id, f := range r.queues {
			if _, still := now[id]; !still && !paused[id] {
				r.dropBatch(f)
			}
		}
		r.retain(func(id string) bool { _, still := now[id]; return still || paused[id] })
	}
	r.rotation = slices.DeleteFunc(r.rotation, func(id string) bool { _, still := now[id]; return !still })
	r.named = make(map[string]bool)
	for _, b := range batches {
		if paused[b.ID] {
			continue
		}
		r.named[b.Model] = true
		f := r.queues[b.ID]
		if f != nil {
			f.batch, f.paused = b, false
		}
		if _, known := r.active[b.ID]; !known && f == nil {
			r.rotation = append(r.rotation, b.ID)
		}
	}
	for id := range r.active {
		if _, still := now[id]; !still {
			r.forget(id)
		}
	}
	maps.DeleteFunc(r.streaks, func(id string, _ *streak) bool { _, still := now[id]; return !still })
	r.active = now
	r.sortRotation()
}

// ActiveBatches are the batches that the last refresh brought.
func (r *Scheduler) ActiveBatches() []batch.Batch {
	if batches := r.served.Load(); batches != nil {
		return *batches
	}
	return nil
}

// forget drops the little that is kept of a batch without a batch queue.
func (r *Scheduler) forget(id string) {
	delete(r.backoffUntil, id)
	r.deps.Health.NoteBatch(id, nil)
}

// Abandon drops what is in memory of a batch that was cancelled.
func (r *Scheduler) Abandon(id string) {
	r.post(func() {
		if f := r.queues[id]; f != nil {
			r.dropBatch(f)
		}
		delete(r.active, id)
		r.forget(id)
		r.rotation = slices.DeleteFunc(r.rotation, func(turn string) bool { return turn == id })
	})
}

// prefetchAll gives batches their batch queues and has slices loaded ahead of need.
func (r *Scheduler) prefetchAll() {
	cfg := r.deps.Config()
	now := time.Now()
	places := r.endRotation(now)
	if r.noSpace {
		return
	}
	r.admitWaiting(&places, now)
	if r.outage || r.lapsed(now) {
		return
	}
	patient := r.patient(now)
	r.rotate(&places, now)
	first, peers := r.firstQueues()
	limit := r.MaxInFlight()
	for _, f := range r.queues {
		if f.loading || f.paused || now.Before(r.backoffUntil[f.batch.ID]) || r.unroutable[f.batch.Model] && f.nPending > 0 {
			continue
		}
		sharers := max(places.taken, 1)
		if f.batch.Priority == first {
			sharers = max(peers, 1)
		}
		r.noteOthers(f, now)
		ahead := r.ahead(f, limit, sharers)
		r.rebalance(f, ahead, now)
		full := f.nPending >= f.enough(ahead)
		lapsed := !patient && !f.retiring && f.nPending < 2*ahead && now.Sub(f.looked) >= lapsedInterval
		if full && !lapsed || f.retiring && len(f.unread) == 0 {
			continue
		}
		if r.noRoom(f) {
			continue
		}
		request := loadRequest{slices: (ahead - f.nPending + batch.SliceLines - 1) / batch.SliceLines, memory: cfg.MemoryBytes - r.memory.taken, patient: patient, lapsed: lapsed, only: full}
		if lapsed {
			f.looked = now
		}
		if full {
			request.slices = max(1, ahead/batch.SliceLines)
		}
		request.slices = min(request.slices, max(windowLoad, 2*limit/batch.SliceLines))
		r.load(f, request)
	}
}

// firstQueues is the largest priority among batch queues that start lines, and how many
// have it: these share all slots.
func (r *Scheduler) firstQueues() (priority, n int) {
	for _, f := range r.queues {
		switch {
		case f.paused || f.retiring || n > 0 && f.batch.Priority < priority:
		case n > 0 && f.batch.Priority == priority:
			n++
		default:
			priority, n = f.batch.Priority, 1
		}
	}
	return priority, n
}

// load has slices loaded into a batch queue.
func (r *Scheduler) load(f *batchQueue, request loadRequest) {
	request.batch, request.inputKey, request.unread, request.force = f.batch, f.inputKey, f.unread, len(f.work) == 0
	f.loading, f.unread = true, nil
	r.side.Start(func(ctx context.Context) {
		got := r.readSlices(ctx, request)
		r.post(func() { r.loaded(f, got, request.only) })
	})
}

// loaded handles what a load brought; only says that it looked for nothing but
// lapsed slices.
func (r *Scheduler) loaded(f *batchQueue, got loaded, only bool) {
	f.loading = false
	f.inputKey = got.inputKey
	f.unread = got.unread
	if got.more {
		f.looked = time.Time{} // at once
	}
	var others []*work // of which others keep all that is left
	for _, w := range got.work {
		w.batchQueue = f
		if w.left == 0 {
			others = append(others, w)
			continue
		}
		f.work[w.Number] = w
		f.loads++
		f.linesRead += int64(len(w.lines))
		f.bytesRead += w.bytes
		r.memory.taken += w.bytes
		for _, l := range w.lines {
			f.push(l)
		}
	}
	r.acknowledge(others)
	r.updateHeld()
	if r.lapsed(time.Now()) {
		r.renew() // the load took that long
	}
	id := f.batch.ID
	if r.queues[id] != f { // dropped meanwhile
		r.dropBatch(f)
		return
	}
	if r.stopping || f.paused {
		r.releaseIdle(f)
		return
	}
	r.deps.Health.NoteBatch(id, got.err)
	r.outage = r.outage || got.away
	if got.found || !only {
		f.spent = got.err == nil && !got.found
	}
	if got.err != nil || !got.found && !only {
		r.backOff(id, time.Now())
	} else {
		delete(r.backoffUntil, id)
	}
}

// backOff leaves a batch alone for batchBackoff.
func (r *Scheduler) backOff(id string, now time.Time) {
	r.backoffUntil[id] = now.Add(batchBackoff)
	r.deadlines.at(r.backoffUntil[id], nil)
}

// dropBatch forgets a batch that is not active any more. Its claims are stale
// already: whoever took it off made them so.
func (r *Scheduler) dropBatch(f *batchQueue) {
	for _, w := range f.work {
		r.dropWork(w)
	}
	f.unread = nil
	if r.queues[f.batch.ID] == f {
		delete(r.queues, f.batch.ID)
	}
}

// dropWork forgets a slice whose claim was lost, and aborts its lines.
func (r *Scheduler) dropWork(w *work) {
	if w.dropped {
		return
	}
	w.dropped = true
	f := w.batchQueue
	for _, l := range w.lines {
		if l.state == lineRunning {
			l.abort()
		}
	}
	r.withdraw(w, w.lines)
	r.memory.taken -= w.bytes
	if f.work[w.Number] == w {
		delete(f.work, w.Number)
	}
}

// free lets go of a line's input: it is not sent any more.
func (r *Scheduler) free(l *line) {
	size := int64(len(l.request.Body))
	l.request.Body = nil
	l.work.bytes -= size
	r.memory.taken -= size
}

// withdraw keeps lines of a slice that wait from being started.
func (r *Scheduler) withdraw(w *work, lines []*line) {
	f := w.batchQueue
	gone := make(map[*line]bool, len(lines))
	for _, l := range lines {
		if l.state == lineBackoff {
			f.backingOff--
		}
		if l.state == lineBackoff || l.state == linePending {
			l.state = lineEnded
		}
		gone[l] = true
	}
	for lane, q := range f.pending {
		before := q.Len()
		q.Filter(func(l *line) bool { return !gone[l] })
		f.removed(lane, before-q.Len())
	}
}

// committed handles the commit of lines: they are durable, or their claim was stale.
func (r *Scheduler) committed(group []finishedLine, stale []batch.SliceClaim) {
	lost := make(map[batch.SliceClaim]bool, len(stale))
	for _, c := range stale {
		lost[c] = true
	}
	var done []*work
	queues := make(map[*batchQueue]bool)
	m := &r.counters
	m.commits.Add(1)
	for _, finished := range group {
		l := finished.line
		w := l.work
		queues[w.batchQueue] = true
		switch {
		case lost[w.SliceClaim]:
			m.refused.Add(1)
		case finished.result.Failed:
			m.failed.Add(1)
			m.lines.durable(&finished.result)
		default:
			m.completed.Add(1)
			m.lines.durable(&finished.result)
		}
		l.state = lineEnded
		if !w.dropped {
			r.free(l)
		}
		r.inFlight--
		w.left--
		w.batchQueue.done++
		if lost[w.SliceClaim] && !w.dropped {
			r.deps.Log.Warn("results refused: the slice was claimed by another since", zap.String("batch_id", w.BatchID), zap.Int("slice", w.Number), zap.Int("attempt", w.Attempt))
			r.dropWork(w)
		} else if w.left == 0 && !w.dropped {
			w.dropped = true
			delete(w.batchQueue.work, w.Number)
			if !w.partial { // else what is left of the slice is for others
				done = append(done, w)
			}
		}
	}
	r.acknowledge(done)
	for f := range queues {
		r.releaseIfStopped(f)
	}
}

// underWay reports whether a line was sent and is not durable yet.
func (l *line) underWay() bool { return l.state == lineRunning || l.state == lineFinished }

// acknowledge tells the queue of slices in which nothing is left to do, and
// wakes who finalizes. Where others keep lines the slice is given back: should
// these lines not get their results, it can be claimed again.
func (r *Scheduler) acknowledge(done []*work) {
	if len(done) == 0 {
		return
	}
	r.deps.WakeWorkers()
	numbers := make(map[string][]int)
	var shared []batch.Release
	for _, w := range done {
		numbers[w.BatchID] = append(numbers[w.BatchID], w.Number)
		if w.Kept != 0 {
			shared = append(shared, batch.Release{SliceClaim: w.SliceClaim})
		}
	}
	r.side.Start(func(ctx context.Context) {
		ctx, cancel := r.bounded(ctx)
		defer cancel()
		if len(shared) > 0 {
			if err := r.deps.Store.ReleaseSlices(ctx, shared, r.deps.Config().Lease); err != nil {
				r.deps.Log.Warn("giving back slices of which others keep lines; they can be claimed when their lease has ended", zap.Error(err))
			}
		}
		for id, n := range numbers {
			r.deps.NoteQueue(r.deps.Queue.Done(ctx, id, n))
		}
	})
}

// Drain starts no more lines, waits for those that run and commits their results. When
// ctx ends it aborts the lines, and gives up to commit after commitGrace.
func (r *Scheduler) Drain(ctx context.Context) {
	stopped := make(chan struct{})
	r.post(func() {
		r.stopping = true
		for _, f := range r.queues {
			r.releaseUnstarted(f)
		}
		close(stopped)
	})
	<-stopped
	giveUp := context.AfterFunc(ctx, r.lines.Stop)
	r.lines.Wait()
	giveUp()
	r.commit.finish()
	giveUp = context.AfterFunc(ctx, func() {
		if wait.Sleep(r.commits.Context(), commitGrace) {
			r.commits.Stop()
		}
	})
	defer giveUp()
	r.commits.Wait()
}

// Stop ends the loop and releases the slices that were not finished.
func (r *Scheduler) Stop() {
	r.commits.Stop()
	r.commits.Wait()
	r.loop.Wait()
	r.lines.Stop()
	for posted := true; posted; {
		r.side.WaitIdle() // what the last loads brought is released as well
		posted = r.mailbox.run()
	}
	r.side.Wait()
	held := r.idle
	for _, c := range r.claims() {
		held = append(held, batch.Release{SliceClaim: c})
	}
	if len(held) > 0 {
		r.release(context.Background(), held)
	}
}
