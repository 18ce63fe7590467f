package engine

import (
	"context"
	"errors"
	"time"

	"go.uber.org/zap"

	"github.com/tidegate/tidegate/batch"
	"github.com/tidegate/tidegate/batch/scheduler"
	"github.com/tidegate/tidegate/internal/background"
	"github.com/tidegate/tidegate/internal/openai"
	"github.com/tidegate/tidegate/internal/wait"
)

// Engine is the batch engine of one gateway. It composes the parts that do the work and
// owns their lifecycle. Its zero value is not usable; see NewEngine.
type Engine struct {
	*parts
	*Reads
	*lineReader
	*validator
	*contentCheck
	*member

	worker  *worker
	metrics metrics
	check   func(tenant string, metadata map[string]string) error // see CheckMetadata
	usage   *usageBuffer

	missed      bool              // the store was away when Open was called before
	knownModels map[string]string // by upstream, as they are stored; used by one goroutine

	workers    *background.Group // goroutines that take new work; nil before Start
	presence   *background.Group // the goroutine of membership, which ends after the last line
	notifyBell chan struct{}     // another instance must be notified
}

// NewEngine composes an engine. It does no I/O and starts nothing.
func NewEngine(cfg batch.Config, store batch.Store, queue batch.Queue, files batch.Files, d batch.Dispatcher, log *zap.Logger) *Engine {
	times := newOperationTimes()
	p := &parts{
		owner: openai.NewID(""), store: &timedStore{store, times}, queue: &lazyQueue{Queue: queue, times: times},
		files: files, dispatcher: d, log: log, workerBell: make(chan struct{}, 1),
	}
	p.health.log = log
	m := &member{parts: p, began: time.Now()}
	e := &Engine{
		parts: p, Reads: &Reads{parts: p, member: m}, lineReader: &lineReader{p}, validator: &validator{parts: p}, contentCheck: &contentCheck{parts: p},
		member: m, usage: newUsageBuffer(p), notifyBell: make(chan struct{}, 1),
	}
	e.worker = &worker{p, e.validator, &finalizer{p, e.validator}}
	e.Apply(cfg)
	p.scheduler = scheduler.New(scheduler.Dependencies{
		Config: p.config, Owner: p.owner, Store: p.store, Queue: p.queue, Files: files, Dispatcher: d,
		Health: &p.health, Gateways: e.workingGateways, NoteQueue: p.noteQueue, WakeWorkers: p.wakeWorkers, Notify: e.notify, Log: log,
	})
	e.backlog = newBacklog(e.Reads, &e.metrics.expired)
	e.metrics.scheduler, e.metrics.times, e.metrics.backlog = p.scheduler, times, e.backlog
	e.metrics.quarantine, e.metrics.missing = &e.quarantine, &e.missing
	return e
}

// Apply sets new settings. They do not affect lines in flight.
func (e *Engine) Apply(cfg batch.Config) {
	cfg = cfg.WithDefaults()
	e.settings.Store(&cfg)
	if e.scheduler != nil {
		e.scheduler.Wake()
	}
}

// Open opens store, files and queue. After an error nothing is left open, and it
// may be called again.
func (e *Engine) Open(ctx context.Context) error {
	if err := e.store.Open(ctx); err != nil {
		e.missed = e.missed || errors.Is(err, batch.ErrUnavailable)
		return &OpenError{"store", err}
	}
	if err := e.files.Open(ctx); err != nil {
		return errors.Join(&OpenError{"files", err}, e.store.Close())
	}
	if err := e.queue.Open(ctx); err != nil {
		return errors.Join(&OpenError{"queue", err}, e.files.Close(), e.store.Close())
	}
	if err := e.enter(ctx); err != nil {
		return errors.Join(err, e.closeAll())
	}
	if err := e.identify(ctx); err != nil {
		e.leave()
		return errors.Join(&OpenError{"files", err}, e.closeAll())
	}
	if err := e.recallModels(ctx); err != nil {
		e.leave()
		return errors.Join(&OpenError{"store", err}, e.closeAll())
	}
	e.usage.learn(ctx)
	return nil
}

// OpenError reports which part kept the engine from opening.
type OpenError struct {
	Part string // store, queue or files
	Err  error
}

func (e *OpenError) Error() string { return "opening " + e.Part + ": " + e.Err.Error() }

// Unwrap returns the cause.
func (e *OpenError) Unwrap() error { return e.Err }

// MayOpenLater reports whether a retry of Open may succeed without a change of the
// configuration.
func MayOpenLater(err error) bool {
	return errors.Is(err, batch.ErrUnavailable) || errors.Is(err, ErrOtherContents)
}

// Start starts the work. The engine must be open.
func (e *Engine) Start() {
	e.workers, e.presence = background.NewGroup(context.Background()), background.NewGroup(context.Background())
	for i := range workerCount() {
		e.workers.Start(func(ctx context.Context) { e.worker.runWorker(ctx, batch.Task(i%2)) })
	}
	for _, run := range []func(context.Context){
		e.runCleaner, e.runContentCheck, e.runExpirer, e.usage.run, e.hearWakes, e.tellOthers, e.runQueueWatch, e.runModelMemory,
	} {
		e.workers.Start(run)
	}
	e.presence.Start(e.runMembership)
	if e.missed {
		e.scheduler.StartGrace()
	}
	e.scheduler.Start()
	e.backlog.running.Store(true)
}

// Stop is Drain and Close.
func (e *Engine) Stop(ctx context.Context) error {
	e.Drain(ctx)
	return e.Close()
}

// Drain accepts no new work, lets lines in flight finish until ctx is done, and releases the
// rest. The API works until Close.
func (e *Engine) Drain(ctx context.Context) {
	if e.workers != nil {
		e.backlog.stop()
		e.workers.Stop()
		e.scheduler.Drain(ctx)
		e.workers.Wait()
		e.presence.Stop()
		e.scheduler.Stop()
		e.presence.Wait()
		e.leave()
	}
}

// Close closes store, queue and files of an engine that has drained or was never
// started.
func (e *Engine) Close() error { return e.closeAll() }

func (e *Engine) closeAll() error {
	return errors.Join(e.queue.Close(), e.files.Close(), e.store.Close())
}

// hearWakes wakes the scheduler and the workers after changes in queue and store.
func (e *Engine) hearWakes(ctx context.Context) {
	var stored <-chan struct{} // nil, which never delivers, if the store reports no changes
	if changes := e.store.Capabilities().Changes; changes != nil {
		stored = changes.Wake()
	}
	for {
		select {
		case <-ctx.Done():
			return
		case <-e.queue.Wake():
		case <-stored:
		}
		e.scheduler.Refresh()
		e.wakeWorkers()
	}
}

// notify wakes every instance after a change. It does not wait for the queue, so that a
// call of the API does not wait for a queue server that hangs.
func (e *Engine) notify() {
	e.scheduler.Refresh()
	e.wakeWorkers()
	wait.Ring(e.notifyBell)
}

// tellOthers notifies the other instances after notify. Calls of notify during a
// notification cause one more.
func (e *Engine) tellOthers(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-e.notifyBell:
		}
		bounded, cancel := e.bounded(ctx)
		e.noteQueue(e.queue.Notify(bounded))
		cancel()
	}
}
