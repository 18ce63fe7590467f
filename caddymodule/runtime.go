package caddymodule

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/caddyserver/caddy/v2"
	"go.uber.org/zap"

	"github.com/tidegate/tidegate/access"
	"github.com/tidegate/tidegate/batch"
	"github.com/tidegate/tidegate/batch/audit"
	"github.com/tidegate/tidegate/batch/engine"
	"github.com/tidegate/tidegate/batch/upload"
	"github.com/tidegate/tidegate/batch/webhook"
	"github.com/tidegate/tidegate/doctor"
	"github.com/tidegate/tidegate/internal/background"
	"github.com/tidegate/tidegate/upstreams"
)

// runtimes are the engines, by the store, queue and files that they use. A reload
// finds its runtime here and changes the settings, so that work in flight is not
// interrupted.
var runtimes = caddy.NewUsagePool()

// settings are the settings of a configuration generation.
type settings struct {
	pool   upstreams.Config
	batch  batch.Config
	hooks  webhook.Config
	limits clientLimits
	keyed  bool // the configuration has API keys
	local  bool // without keys, clients on other machines are refused
}

// runtime is the engine on one store, queue and files, together with the pool.
type runtime struct {
	log    *zap.Logger
	pool   *sharedPool
	engine *engine.Engine
	hooks  *webhook.Sender
	doctor *doctor.Doctor
	began  time.Time
	data   string // App.Data

	tried     chan struct{} // closed by triedOnce after the first attempt to open the engine
	triedOnce sync.Once
	started   atomic.Bool // the engine is open, or will be as soon as possible
	open      atomic.Bool // files and batches are available
	retired   atomic.Bool // no configuration uses it any more: it only finishes its work

	keyed atomic.Bool // the configuration has API keys
	local atomic.Bool // without keys, clients on other machines are refused
	// loose are the files and directories that other users have access to.
	loose atomic.Pointer[[]string]

	// closed is why a started engine is not open.
	closed      atomic.Pointer[error]
	opening     sync.WaitGroup     // the opener, if it runs
	stopOpening context.CancelFunc // stops it

	directory *access.Directory // managed keys
	audit     *audit.Recorder
	following *background.Group // directory and audit; nil before the engine is open
	saved     savedKeys

	mu          sync.Mutex // guards what follows
	files       *upload.Service
	generations generations[settings]
	drained     bool
	drainTime   time.Duration
}

func newRuntime(a *App) (*runtime, error) {
	// A runtime outlives the configuration that created it, and so must its log.
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
	r := &runtime{log: log, pool: a.pool, data: a.Data, began: time.Now(), tried: make(chan struct{})}
	store, queue, files, dispatch, err := withFailpoints(store, queue, files, dispatcher{a.pool.Pool, a.pool.limits, &r.retired, r.keyName})
	if err != nil {
		return nil, err
	}
	r.engine = engine.NewEngine(a.batchConfig(), store, queue, files, dispatch, log.Named("batch"))
	r.hooks = webhook.NewSender(r.engine.Store(), r.engine.Owner(), log.Named("webhooks"))
	r.engine.CheckMetadata(r.hooks.Check)
	r.directory = access.NewDirectory(r.engine.Store(), nil)
	r.audit = audit.NewRecorder(r.engine.Store(), log.Named("audit"), nil)
	r.saved = a.savedKeys(log.Named("keys"))
	r.directory.OnChange(r.saved.save)
	r.doctor = doctor.New(doctor.Config{Engine: r.engine, Pool: a.pool.Pool, Health: r.batchHealth, Keys: r.requiresKey, Local: r.local.Load, Loose: r.looseFiles})
	return r, nil
}

// requiresKey reports whether clients must send an API key.
func (r *runtime) requiresKey() bool {
	some, _ := r.directory.Any()
	return r.keyed.Load() || r.local.Load() && some
}

// keyName returns the name of the key or user that an id of a client belongs to.
func (r *runtime) keyName(id string) string {
	if _, name, configured := strings.Cut(id, "/"); configured { // static/NAME, user/NAME
		return name
	}
	return r.directory.Name(id)
}

// looseFiles returns the files and directories that other users have access to.
func (r *runtime) looseFiles() []string {
	if left := r.loose.Load(); left != nil {
		return *left
	}
	return nil
}

// fileService returns the service for files. Configurations with equal limits share
// one, because it limits concurrent decompression. tenants has limits of single tenants.
func (r *runtime) fileService(limits upload.Limits, tenants map[string]batch.StorageLimit) *upload.Service {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.files == nil || r.files.Limits != limits || !maps.Equal(r.files.Tenants, tenants) {
		r.files = &upload.Service{Store: r.engine.Store(), Files: r.engine.Files(), Limits: limits, Tenants: tenants, Arriving: r.engine.Arriving()}
	}
	return r.files
}

// start opens the runtime and applies the settings of a generation, to it and to the
// pool. Steps that may fail come first: after an error nothing has changed.
func (r *runtime) start(s *settings) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	var opening error
	first := !r.started.Load()
	if first {
		if keys := r.saved.restore(); len(keys) > 0 {
			r.directory.Restore(keys)
		}
		r.engine.Apply(s.batch) // other gateways learn the role when it opens
		r.hooks.Apply(s.hooks)  // their targets are set before a batch can end
		if opening = r.openEngine(context.Background()); opening != nil && !engine.MayOpenLater(opening) {
			return opening
		}
	}
	if err := r.pool.start(&s.pool, r.data); err != nil {
		if first && opening == nil {
			err = errors.Join(err, r.engine.Stop(context.Background()))
		}
		return err
	}
	r.apply(s)
	r.generations.add(s)
	r.retired.Store(false)
	if first {
		r.started.Store(true)
		if opening == nil {
			r.startEngine()
		} else {
			r.openLater(opening)
		}
		r.triedOnce.Do(func() { close(r.tried) })
	}
	return nil
}

// gate returns the gate of requests for files and batches.
func (r *runtime) gate() gate { return gate{&r.open, r.tried} }

func (r *runtime) apply(s *settings) {
	r.engine.Apply(s.batch)
	r.hooks.Apply(s.hooks)
	r.pool.limits.Apply(s.limits.config(r.directory, s.batch.Prices))
	r.keyed.Store(s.keyed)
	r.local.Store(s.local)
	r.drainTime = s.batch.DrainTimeout
}

// stop removes a generation.
func (r *runtime) stop(s *settings, exiting bool) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if err := r.pool.stop(&s.pool); err != nil {
		return err
	}
	if before := r.generations.remove(s); before != nil {
		r.apply(before)
	}
	if r.generations.last() != nil {
		return nil
	}
	if exiting {
		return r.drain()
	}
	r.retired.Store(true)
	return nil
}

// defaultDrain is the engine's own default.
const defaultDrain = 25 * time.Second

// drain lets running lines finish. The caller holds mu.
func (r *runtime) drain() error {
	if !r.started.Load() || r.drained {
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
	r.engine.Drain(ctx)
	return nil
}

// Destruct closes the runtime when no configuration uses it any more.
func (r *runtime) Destruct() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	err := r.drain()
	r.started.Store(false)
	// The API was served until now: Caddy stops apps in no particular order, so that
	// requests still arrive while the engine drains.
	if r.open.Swap(false) {
		r.hooks.Stop()
		r.following.Stop()
		r.following.Wait()
		err = errors.Join(err, r.engine.Close())
	}
	return err
}
