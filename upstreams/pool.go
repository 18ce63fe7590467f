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
	"github.com/tidegate/tidegate/internal/openai"
)

// Pool is a set of upstreams that live requests and batch lines share. Its
// methods may be called by several goroutines at once.
type Pool struct {
	log     *zap.Logger
	now     atomic.Pointer[snapshot]
	freed   chan struct{}
	wanting atomic.Bool // a Reserve failed since the last signal
	heard   atomic.Bool // what other gateways have in flight is known
	metrics *metrics
	dial    dialFunc                       // nil but in tests
	take    func() (taken func(), ok bool) // descriptors.Take but in tests

	throttle  throttle
	book      priceBook
	repriced  chan struct{} // cap 1: there is another configuration
	shortages shortages
	bodies    bodyMemory
	asking    asking
	waker     waker
	queue     queue
	nameless  modelRecord // of live requests for no model that a server has told
	look      firstLook

	mu         sync.Mutex
	cfg        Config                      // guarded by mu, with defaults
	upstreams  []*upstream                 // guarded by mu, in the configuration's order
	former     []*upstream                 // guarded by mu; those that the last Apply left out
	transports map[transportKey]*transport // guarded by mu
	peers      Peers                       // guarded by mu; other gateways on the same upstreams
	running    bool                        // guarded by mu
	recalled   map[string]string           // guarded by mu; see RecallModels
	records    map[string]*modelRecord     // guarded by mu; of models that servers have or had
	ctx        context.Context
	cancel     context.CancelFunc
	probers    sync.WaitGroup
}

// NewPool makes a pool without upstreams. It does no I/O and starts nothing.
func NewPool(log *zap.Logger) *Pool { return newPool(log, nil) }

func newPool(log *zap.Logger, dial dialFunc) *Pool {
	p := &Pool{log: log, dial: dial, take: descriptors.Take, freed: make(chan struct{}, 1), cfg: Config{}.withDefaults()}
	p.bodies.limit.Store(p.cfg.BodyMemory)
	p.queue.awake = make(chan struct{}, 1)
	p.records, p.nameless.begun = make(map[string]*modelRecord), time.Now()
	p.look = newFirstLook()
	p.metrics = newMetrics(p)
	p.throttle.changed, p.repriced = make(chan struct{}, 1), make(chan struct{}, 1)
	p.mu.Lock()
	p.publish()
	p.mu.Unlock()
	return p
}

// Apply makes cfg the pool's configuration. Upstreams whose URL stays keep
// their state and their counts. Those that are left out get nothing new; what
// runs on them goes on. It may be called at any time.
func (p *Pool) Apply(cfg Config) error { return p.apply(cfg, false) }

// Restore takes the last Apply back: it is Apply of the configuration before,
// and upstreams that the last one left out are as they were.
func (p *Pool) Restore(cfg Config) error { return p.apply(cfg, true) }

func (p *Pool) apply(cfg Config, restore bool) error {
	if err := cfg.Validate(); err != nil {
		return fmt.Errorf("configuring the pool: %w", err)
	}
	if !restore { // files that were in force before are not a reason to stop
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
			u = newUpstream(at, now)
			p.recall(u)
		}
		u.weight, u.maxSeqs, u.seqsAssumed = uc.Weight, uc.MaxNumSeqs, configured[i].MaxNumSeqs == 0
		u.policy = uc.SchedulingPolicy
		u.arrangePriority()
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
	p.throttle.setHours(schedule, schedule.read(now))
	p.arrange()
	for _, u := range next {
		u.probeSoon() // by the new settings
	}
	p.startProbers()
	p.applyBudget()
	p.publish()
	select {
	case p.repriced <- struct{}{}:
	default:
	}
	return nil
}

// find gives the one with a URL in its normal form, nil when there is none.
func find(among []*upstream, url string) *upstream {
	for _, u := range among {
		if u.url == url {
			return u
		}
	}
	return nil
}

// Start begins to probe. Until the first probes have ended every upstream is
// loading.
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
	p.probers.Go(func() { p.keepHours(ctx) })
	p.probers.Go(func() { p.measurePrice(ctx) })
	p.beginLook()
	p.probers.Go(func() { p.place(ctx) })
	p.startProbers()
}

// startProbers gives every upstream that has none its prober. mu is held.
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

// Close ends probing and waits for it. Requests that run go on; the pool may be
// started again.
func (p *Pool) Close() {
	p.mu.Lock()
	if p.running {
		p.running = false
		p.cancel()
		p.endLook()
		for _, u := range p.upstreams {
			u.stop = nil
		}
	}
	p.mu.Unlock()
	p.probers.Wait()
	p.closeIdle()
}

// Freed delivers a value after something happened by which a Reserve that
// failed may succeed now: a slot or a live request ended, an upstream came up,
// the configuration changed.
func (p *Pool) Freed() <-chan struct{} { return p.freed }

func (p *Pool) signal() {
	p.wanting.Store(false)
	select {
	case p.freed <- struct{}{}:
	default:
	}
	p.queue.wake()
}

// released signals if somebody waits for it.
func (p *Pool) released() {
	if p.wanting.Load() {
		p.signal()
		return
	}
	p.queue.wake()
}

// Drain keeps new requests from an upstream until Undrain; what runs on it goes
// on. It survives Apply, as long as the URL stays. The error is ErrNoUpstream.
func (p *Pool) Drain(url string) error { return p.DrainBy(url, "") }

// DrainBy is Drain and notes by whom it was asked for: "the dashboard".
func (p *Pool) DrainBy(url, by string) error { return p.setDraining(url, true, by) }

// Undrain takes back Drain.
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

// Ready tells whether a request could be served: an upstream is up and not
// draining.
func (p *Pool) Ready() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.ContainsFunc(p.upstreams, func(u *upstream) bool { return u.isUp() && !u.draining })
}

// settled tells whether every upstream has told its models at least once or is
// down after a probe. One that says it is not ready, or that refuses connections
// and is younger than Config.LoadTime, is still loading and may have any model.
func (p *Pool) settled() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return !slices.ContainsFunc(p.upstreams, func(u *upstream) bool {
		return !u.told && (!u.probed || p.notUp(u) == StateLoading)
	})
}

// where finds a model: at is nil when no upstream has told it, and settled says
// whether that makes it unknown. A model that is told while this looks is found,
// or not settled: what is told before settled looks is in the snapshot after.
func (p *Pool) where(model string) (s *snapshot, at *served, settled bool) {
	s = p.now.Load()
	if at = s.models[model]; at != nil {
		return s, at, true
	}
	settled = p.settled()
	s = p.now.Load()
	return s, s.models[model], settled
}

// Models are those that the upstreams have told, sorted by id, each once. They
// stay when their upstreams go down.
func (p *Pool) Models() []openai.Model { return slices.Clone(p.now.Load().list) }

// Serves tells whether a model is known and, when it is not, whether that may be
// believed: no upstream is still loading that may have it. Upstreams are asked
// before a model is called unknown, for up to 2 s.
func (p *Pool) Serves(model string) (known, settled bool) {
	_, at, settled := p.seek(context.Background(), model)
	return at != nil, settled
}

// Closest names the known models whose names are closest to that of another.
func (p *Pool) Closest(model string) []string {
	s := p.now.Load()
	names := make([]string, len(s.list))
	for i := range s.list {
		names[i] = s.list[i].ID
	}
	return openai.Nearest(model, names, 3)
}
