package upstreams

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"github.com/tidegate/tidegate/internal/descriptors"
	"github.com/tidegate/tidegate/internal/guardrail"
	"github.com/tidegate/tidegate/internal/openai"
)

// Pool is a set of upstreams that live requests and batch lines share. Its methods
// may be called concurrently.
type Pool struct {
	log            *zap.Logger
	now            atomic.Pointer[snapshot]
	freed          chan struct{}
	reserveFailed  atomic.Bool   // a Reserve failed since the last signal
	awakened       chan struct{} // cap 1: a quiet server has a live request
	peersKnown     atomic.Bool   // SetPeers has set loads
	metrics        *metrics
	dial           dialFunc                       // nil except in tests
	takeDescriptor func() (taken func(), ok bool) // descriptors.Take except in tests

	throttle           throttle
	prefillSpeed       poolSpeed
	book               priceBook
	priceConfigChanged chan struct{} // cap 1: the configuration has changed
	shortages          shortages
	bodies             bodyMemory
	rediscovery        rediscovery
	waker              waker
	queue              queue
	unknownModels      modelRecord // of live requests for models that no server has reported
	initialProbes      initialProbes
	ending             ending
	decisions          guardrailState

	mu         sync.Mutex
	cfg        Config                      // guarded by mu, with defaults
	upstreams  []*upstream                 // guarded by mu, in the configuration's order
	former     []*upstream                 // those removed by the last Apply
	transports map[transportKey]*transport // guarded by mu
	peers      Peers                       // guarded by mu; other gateways on the same upstreams
	running    bool                        // guarded by mu
	recalled   map[string]string           // guarded by mu; see RecallModels
	guardrail  *guardrail.Client           // guarded by mu; nil for none
	records    map[string]*modelRecord     // guarded by mu; of models that servers have or had
	ctx        context.Context
	cancel     context.CancelFunc
	probers    sync.WaitGroup
}

// NewPool returns a pool without upstreams. It does no I/O and starts no goroutine.
func NewPool(log *zap.Logger) *Pool { return newPool(log, nil) }

func newPool(log *zap.Logger, dial dialFunc) *Pool {
	p := &Pool{log: log, dial: dial, takeDescriptor: descriptors.Take, freed: make(chan struct{}, 1), awakened: make(chan struct{}, 1), cfg: Config{}.withDefaults()}
	p.bodies.limit.Store(p.cfg.BodyMemory)
	p.queue.awake = make(chan struct{}, 1)
	p.ending = newEnding()
	p.records, p.unknownModels.begun = make(map[string]*modelRecord), time.Now()
	p.initialProbes = newInitialProbes()
	p.metrics = newMetrics(p)
	p.throttle.changed, p.priceConfigChanged = make(chan struct{}, 1), make(chan struct{}, 1)
	p.mu.Lock()
	p.publish()
	p.mu.Unlock()
	return p
}

// Apply sets the pool's configuration. Upstreams whose URL is unchanged keep their
// state and their counts. Removed upstreams get no new requests; requests in flight
// continue. It may be called at any time.
func (p *Pool) Apply(cfg Config) error { return p.apply(cfg, false) }

// Restore reverts the last Apply: it applies the previous configuration, and
// upstreams that the last Apply removed keep their state.
func (p *Pool) Restore(cfg Config) error { return p.apply(cfg, true) }

func (p *Pool) apply(cfg Config, restore bool) error {
	if err := cfg.Validate(); err != nil {
		return fmt.Errorf("configuring the pool: %w", err)
	}
	if !restore { // files that were in use before do not prevent a rollback
		if err := cfg.CheckFiles(); err != nil {
			return fmt.Errorf("configuring the pool: %w", err)
		}
	}
	schedule, err := cfg.Hours.parse()
	if err != nil {
		return fmt.Errorf("configuring the pool: %w", err)
	}
	configured := cfg.Upstreams
	cfg = cfg.withDefaults()
	p.mu.Lock()
	defer p.mu.Unlock()
	now := time.Now()
	next := make([]*upstream, 0, len(cfg.Upstreams))
	for i, uc := range cfg.Upstreams {
		at, err := parseAddress(uc.URL)
		if err != nil {
			return fmt.Errorf("configuring the pool: %w", err)
		}
		u := find(p.upstreams, at.name)
		if u == nil && restore {
			u = find(p.former, at.name)
		}
		if u == nil {
			u = newUpstream(at, now, &p.prefillSpeed)
			u.awakened = p.awakened
			p.recall(u)
		}
		u.weight, u.maxSeqs, u.seqsAssumed = uc.Weight, uc.MaxNumSeqs, configured[i].MaxNumSeqs == 0
		u.policy = uc.SchedulingPolicy
		u.scaleToZero.Store(uc.ScaleToZero)
		u.updatePriority()
		next = append(next, u)
	}
	p.former = slices.DeleteFunc(p.upstreams, func(u *upstream) bool { return slices.Contains(next, u) })
	for _, u := range p.former {
		if u.stop != nil {
			u.stop()
			u.stop = nil
		}
	}
	p.cfg, p.upstreams = cfg, next
	p.bodies.limit.Store(cfg.BodyMemory)
	p.applyGuardrail()
	p.throttle.setHours(schedule, schedule.at(now))
	p.assignTransports()
	for _, u := range next {
		u.probeSoon() // with the new settings
	}
	p.startProbers()
	p.applyBudget()
	p.publish()
	select {
	case p.priceConfigChanged <- struct{}{}:
	default:
	}
	return nil
}

// find returns the upstream with a normalized URL, nil if there is none.
func find(among []*upstream, url string) *upstream {
	for _, u := range among {
		if u.url == url {
			return u
		}
	}
	return nil
}

// Start begins probing. Until its first probe has ended, an upstream is loading.
func (p *Pool) Start() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.running {
		return
	}
	p.running = true
	p.ctx, p.cancel = context.WithCancel(context.Background())
	ctx := p.ctx
	p.probers.Go(func() { p.sample(ctx) })
	p.probers.Go(func() { p.runHours(ctx) })
	p.probers.Go(func() { p.measurePrice(ctx) })
	p.beginInitialProbes()
	var known placement
	known.assign(p.now.Load(), time.Now()) // before the first probe, which sets the initial limit
	p.probers.Go(func() { p.runPlacement(ctx, &known) })
	p.startProbers()
}

// startProbers starts a prober for every upstream that has none. mu is held.
func (p *Pool) startProbers() {
	if !p.running {
		return
	}
	for _, u := range p.upstreams {
		if u.stop != nil {
			continue
		}
		ctx, stop := context.WithCancel(p.ctx)
		u.stop = stop
		p.probers.Go(func() {
			defer stop()
			p.watch(ctx, u)
		})
	}
}

// Close stops probing and waits for it. Requests in flight continue; the pool may be
// started again.
func (p *Pool) Close() {
	p.mu.Lock()
	if p.running {
		p.running = false
		p.cancel()
		p.endInitialProbes()
		for _, u := range p.upstreams {
			u.stop = nil
		}
	}
	p.mu.Unlock()
	p.probers.Wait()
	p.closeIdle()
}

// Freed delivers a value after an event that may allow a failed Reserve to succeed: a
// slot was released, a live request ended, an upstream came up, or the configuration
// changed.
func (p *Pool) Freed() <-chan struct{} { return p.freed }

func (p *Pool) signal() {
	p.reserveFailed.Store(false)
	select {
	case p.freed <- struct{}{}:
	default:
	}
	p.queue.wake()
}

// released signals if a Reserve has failed since the last signal, and wakes queued
// requests.
func (p *Pool) released() {
	if p.reserveFailed.Load() {
		p.signal()
		return
	}
	p.queue.wake()
}

// Drain stops sending new requests to an upstream until Undrain; requests in flight
// continue. It survives Apply while the URL is configured. The error is
// ErrNoUpstream.
func (p *Pool) Drain(url string) error { return p.DrainBy(url, "") }

// DrainBy is Drain and records who requested it, such as "the dashboard".
func (p *Pool) DrainBy(url, by string) error { return p.setDraining(url, true, by) }

// Undrain reverts Drain.
func (p *Pool) Undrain(url string) error { return p.setDraining(url, false, "") }

func (p *Pool) setDraining(raw string, draining bool, by string) error {
	at, err := parseAddress(raw)
	if err != nil {
		return ErrNoUpstream
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	u := find(p.upstreams, at.name)
	if u == nil {
		return ErrNoUpstream
	}
	if u.draining != draining {
		u.draining, u.drainedAt, u.drainedBy = draining, time.Time{}, by
		if draining {
			u.drainedAt = time.Now()
		}
		p.log.Info("upstream draining", zap.String("upstream", u.url), zap.Bool("draining", draining), zap.String("by", by))
		p.publish()
	}
	return nil
}

// Ready reports whether a request could be served: an upstream is up and not
// draining.
func (p *Pool) Ready() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.ContainsFunc(p.upstreams, func(u *upstream) bool { return u.isUp() && !u.draining })
}

// discoveryComplete reports whether every upstream has reported its models at least
// once or is down after a probe. An upstream that reports that it is not ready, or
// that refuses connections and is younger than Config.LoadTime, is still loading and
// may have any model.
func (p *Pool) discoveryComplete() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return !slices.ContainsFunc(p.upstreams, func(u *upstream) bool {
		return !u.discovered && (!u.probed || p.notUp(u) == StateLoading)
	})
}

// lookup finds a model. at is nil if no upstream has reported it; then complete
// reports whether discovery is complete, so that the model is unknown. The snapshot
// is loaded again after discoveryComplete, so that a model reported in the meantime
// is found.
func (p *Pool) lookup(model string) (s *snapshot, at *served, complete bool) {
	s = p.now.Load()
	if at = s.models[model]; at != nil {
		return s, at, true
	}
	complete = p.discoveryComplete()
	s = p.now.Load()
	return s, s.models[model], complete
}

// Models returns the models that the upstreams have reported, sorted by id, each
// once. They are kept while their upstreams are down.
func (p *Pool) Models() []openai.Model { return slices.Clone(p.now.Load().list) }

// Serves reports whether a model is known. If it is not, complete reports whether that
// is final: no upstream that may have the model is still loading. Model discovery
// runs before a model is reported as unknown, for up to 2 s.
func (p *Pool) Serves(model string) (known, complete bool) {
	_, at, complete := p.lookupOrDiscover(context.Background(), model)
	return at != nil, complete
}

// Closest returns the known models with the most similar names.
func (p *Pool) Closest(model string) []string {
	s := p.now.Load()
	names := make([]string, len(s.list))
	for i := range s.list {
		names[i] = s.list[i].ID
	}
	return openai.Nearest(model, names, 3)
}
