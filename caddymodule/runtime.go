package caddymodule

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/caddyserver/caddy/v2"
	"go.uber.org/zap"

	"github.com/tidegate/tidegate/batch"
	"github.com/tidegate/tidegate/doctor"
	"github.com/tidegate/tidegate/upstreams"
)

// runtimes are what holds state, by what they are. A reload finds its runtime
// here and changes the settings, so that nothing under way is interrupted.
var runtimes = caddy.NewUsagePool()

// settings are what a generation of the configuration applies.
type settings struct {
	pool  upstreams.Config
	batch batch.Config
	keyed bool // clients must show an API key
}

// runtime is the pool and the engine on one store, queue and files.
type runtime struct {
	log    *zap.Logger
	pool   *upstreams.Pool
	engine *batch.Engine
	doctor *doctor.Doctor

	live atomic.Bool // live requests can be served
	open atomic.Bool // files and batches can be served

	keyed atomic.Bool // clients must show an API key

	// closed is what keeps the engine from being open, once it is live.
	closed      atomic.Pointer[string]
	opening     sync.WaitGroup     // the opener, while there is one
	stopOpening context.CancelFunc // ends it

	mu          sync.Mutex // guards what follows
	files       *batch.FileService
	generations []*settings // started and not stopped, the newest last
	drained     bool
	drainTime   time.Duration
}

func newRuntime(a *App) (*runtime, error) {
	// A runtime outlives the configuration that made it, and so must its log.
	log := caddy.Log().Named("tidegate")
	store, err := a.store.Store(a.Data, log.Named("store"))
	if err != nil {
		return nil, fmt.Errorf("store: %w", err)
	}
	queue, err := a.queue.Queue(log.Named("queue"))
	if err != nil {
		return nil, fmt.Errorf("queue: %w", err)
	}
	files, err := a.files.Files(a.Data, a.store.Shared(), log.Named("files"))
	if err != nil {
		return nil, fmt.Errorf("files: %w", err)
	}
	pool := upstreams.NewPool(log.Named("pool"))
	store, queue, files, dispatch, err := withFailpoints(store, queue, files, dispatcher{pool})
	if err != nil {
		return nil, err
	}
	r := &runtime{
		log: log, pool: pool,
		engine: batch.NewEngine(a.Batch.engine(), store, queue, files, dispatch, log.Named("batch")),
	}
	r.doctor = doctor.New(doctor.Config{Engine: r.engine, Pool: pool, Health: r.batchHealth, Keys: r.keyed.Load})
	return r, nil
}

// fileService gives the service for files. Configurations with the same limits
// share one, because it bounds what is decompressed at a time.
func (r *runtime) fileService(limits batch.FileLimits) *batch.FileService {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.files == nil || r.files.Limits != limits {
		r.files = r.engine.Files(limits)
	}
	return r.files
}

// start opens the runtime and applies the settings of a generation.
func (r *runtime) start(s *settings) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if err := r.apply(s); err != nil {
		return err
	}
	if !r.live.Load() {
		err := r.openEngine(context.Background())
		if err != nil && !errors.Is(err, batch.ErrUnavailable) {
			return err
		}
		r.pool.Start()
		r.live.Store(true)
		if err == nil {
			r.startEngine()
		} else {
			r.openLater(err)
		}
	}
	r.generations = append(r.generations, s)
	return nil
}

func (r *runtime) apply(s *settings) error {
	if err := r.pool.Apply(s.pool); err != nil {
		return fmt.Errorf("applying pool: %w", err)
	}
	r.engine.Apply(s.batch)
	r.keyed.Store(s.keyed)
	r.drainTime = s.batch.DrainTimeout
	return nil
}

// stop takes a generation back. The settings of the newest that is left count
// again, in case a newer one failed to start.
func (r *runtime) stop(s *settings, exiting bool) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	newest := len(r.generations) > 0 && r.generations[len(r.generations)-1] == s
	r.generations = slices.DeleteFunc(r.generations, func(g *settings) bool { return g == s })
	if n := len(r.generations); n > 0 {
		if newest {
			return r.apply(r.generations[n-1])
		}
		return nil
	}
	if exiting {
		return r.drain()
	}
	return nil
}

// defaultDrain is the engine's own default.
const defaultDrain = 25 * time.Second

// drain lets lines that run finish and closes the engine. The pool stays, for
// live requests that still run. The caller holds mu.
func (r *runtime) drain() error {
	if !r.live.Load() || r.drained {
		return nil
	}
	r.drained = true
	if r.stopOpening != nil {
		r.stopOpening()
		r.opening.Wait()
	}
	if !r.open.Load() {
		return nil
	}
	wait := r.drainTime
	if wait == 0 {
		wait = defaultDrain
	}
	ctx, cancel := context.WithTimeout(context.Background(), wait)
	defer cancel()
	return r.engine.Stop(ctx)
}

// Destruct closes the runtime: no configuration uses it any more.
func (r *runtime) Destruct() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	err := r.drain()
	r.live.Store(false)
	r.open.Store(false)
	r.pool.Close()
	return err
}
