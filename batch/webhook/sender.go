package webhook

import (
	"context"
	"errors"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"github.com/tidegate/tidegate/batch"
	"github.com/tidegate/tidegate/internal/background"
	"github.com/tidegate/tidegate/internal/wait"
)

const (
	// pollInterval is the time between two searches for due deliveries.
	pollInterval = time.Second
	// targetInterval is the time between two writes of the targets.
	targetInterval = batch.WebhookTargetTTL / 20
	// lease is the time after which the claim of a delivery ends. It is longer than an
	// attempt and the write of its result, so that it needs no renewal.
	lease = time.Minute
	// storeTimeout limits each operation of the store.
	storeTimeout = 10 * time.Second
	// perRoute, perMetadata and inAll limit the concurrent attempts, so that receivers that
	// hang do not hold up others: of an endpoint, of all tenants that share the endpoint of
	// metadata, each of which has at most perRoute, and of the gateway.
	perRoute    = 4
	perMetadata = 64
	inAll       = 256
)

// Sender sends webhooks while it runs. See NewSender.
type Sender struct {
	store batch.WebhookStore
	owner string
	log   *zap.Logger
	now   func() time.Time

	public, private *http.Client
	metrics         metrics

	routes atomic.Pointer[[]route]
	bell   chan struct{} // the routes have changed

	group *background.Group // nil before Start

	mu      sync.Mutex
	running map[string]map[string]int // guarded by mu; attempts by route and tenant
	total   int                       // guarded by mu; their sum
	failed  bool                      // the store failed last; used by one goroutine
}

// NewSender returns a sender without endpoints. The store may be opened later, before Start.
// owner identifies the gateway in its claims.
func NewSender(store batch.WebhookStore, owner string, log *zap.Logger) *Sender {
	s := &Sender{
		store: store, owner: owner, log: log, now: time.Now, public: newClient(false), private: newClient(true),
		bell: make(chan struct{}, 1), running: make(map[string]map[string]int), metrics: newMetrics(),
	}
	s.routes.Store(new([]route))
	return s
}

// Apply sets the endpoints. Running attempts are not interrupted.
func (s *Sender) Apply(cfg Config) {
	var routes []route
	for i := range cfg.Endpoints {
		e := cfg.Endpoints[i]
		routes = append(routes, e.routes()...)
	}
	s.routes.Store(&routes)
	wait.Ring(s.bell)
}

// Start writes the targets, so that no batch ends unnoticed from then on, and starts
// sending. The store must be open.
func (s *Sender) Start(ctx context.Context) {
	set := s.setTargets(ctx)
	s.group = background.NewGroup(context.WithoutCancel(ctx)) // until Stop
	s.group.Start(func(ctx context.Context) { s.run(ctx, set) })
}

// Stop ends all attempts, which are made again later, and waits for them. The store must be
// open until Stop has returned.
func (s *Sender) Stop() {
	if s.group != nil {
		s.group.Stop()
		s.group.Wait()
		s.group = nil
	}
}

// run claims and sends deliveries. Targets that are not set are set with the next poll: no
// batch that ends before is reported to them.
func (s *Sender) run(ctx context.Context, set bool) {
	poll, targets := time.NewTicker(pollInterval), time.NewTicker(targetInterval)
	defer poll.Stop()
	defer targets.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-poll.C:
			set = set || s.setTargets(ctx)
			s.claimAll(ctx)
		case <-s.bell:
			set = s.setTargets(ctx)
		case <-targets.C:
			set = s.setTargets(ctx)
		}
	}
}

// setTargets writes the targets, and reports whether that succeeded.
func (s *Sender) setTargets(ctx context.Context) bool {
	all := targets(*s.routes.Load())
	if len(all) == 0 {
		return true
	}
	ctx, cancel := context.WithTimeout(ctx, storeTimeout)
	defer cancel()
	err := s.store.SetWebhookTargets(ctx, all)
	if err != nil {
		s.log.Warn("setting targets of webhooks failed; batches that end now may not be reported", zap.Error(err))
	}
	return err == nil
}

// claimAll claims due deliveries of all routes and starts their attempts.
func (s *Sender) claimAll(ctx context.Context) {
	for _, r := range *s.routes.Load() {
		claimed, err := 1, error(nil)
		for claimed > 0 && err == nil {
			claimed, err = s.claim(ctx, r)
		}
		if err != nil {
			if !s.failed && ctx.Err() == nil {
				s.log.Warn("claiming webhooks failed", zap.Error(err))
			}
			s.failed = true
			return
		}
		s.failed = false
	}
}

// claim claims some due deliveries of a route, and starts their
// attempts. It returns their number.
func (s *Sender) claim(ctx context.Context, r route) (int, error) {
	free, busy := s.free(r)
	if free == 0 {
		return 0, nil
	}
	bounded, cancel := context.WithTimeout(ctx, storeTimeout)
	defer cancel()
	claimed, err := s.store.ClaimDeliveries(bounded, s.owner, r.id, lease, free, busy)
	for _, d := range claimed {
		s.count(r.id, d.Tenant, 1)
		s.group.Start(func(ctx context.Context) {
			defer s.count(r.id, d.Tenant, -1)
			s.deliver(ctx, r, d)
		})
	}
	return len(claimed), err
}

// free returns how many attempts a route may begin, whichever tenants they are of, and the
// tenants that may begin none. Tenants that share the endpoint of metadata have receivers of
// their own.
func (s *Sender) free(r route) (n int, busy []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	most, sum := 0, 0
	for tenant, running := range s.running[r.id] {
		sum += running
		if running >= perRoute {
			busy = append(busy, tenant)
		} else {
			most = max(most, running)
		}
	}
	if r.URL != "" {
		return max(min(perRoute-sum, inAll-s.total), 0), nil
	}
	return max(min(perRoute-most, perMetadata-sum, inAll-s.total), 0), busy
}

func (s *Sender) count(id, tenant string, n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.running[id] == nil {
		s.running[id] = make(map[string]int)
	}
	s.total += n
	if s.running[id][tenant] += n; s.running[id][tenant] == 0 {
		delete(s.running[id], tenant)
	}
	if len(s.running[id]) == 0 {
		delete(s.running, id)
	}
}

// deliver makes one attempt and writes its result.
func (s *Sender) deliver(ctx context.Context, r route, d batch.Delivery) {
	var a answer
	to, err := r.address(d)
	if err != nil {
		a.err = err // a reload may allow it again
	} else {
		a = s.post(ctx, to, r.Endpoint, eventOf(d))
	}
	result := resultOf(ctx, d, a)
	s.metrics.count(result.State)
	s.record(ctx, d, result)
	s.logResult(r, d, result)
}

// resultOf decides what follows from an answer.
func resultOf(ctx context.Context, d batch.Delivery, a answer) batch.DeliveryResult {
	r := batch.DeliveryResult{State: batch.DeliveryDelivered, HTTPStatus: a.status}
	if a.err == nil {
		return r
	}
	r.Error = a.err.Error()
	if ctx.Err() != nil && a.status == 0 { // this gateway stops
		r.State, r.Error = batch.DeliveryPending, "the gateway stopped during the attempt"
		return r
	}
	pause, again := pauseAfter(d, a)
	if a.status == http.StatusGone || !again { // 410 means that the receiver wants no more
		r.State = batch.DeliveryFailed
		return r
	}
	r.State, r.RetryIn = batch.DeliveryPending, pause
	return r
}

// record writes a result, also while the sender stops. If the store stays away, the
// delivery is made again when the lease ends.
func (s *Sender) record(ctx context.Context, d batch.Delivery, r batch.DeliveryResult) {
	end := s.now().Add(lease / 2)
	for {
		bounded, cancel := context.WithTimeout(context.WithoutCancel(ctx), storeTimeout)
		err := s.store.FinishDelivery(bounded, d, r)
		cancel()
		if err == nil || errors.Is(err, batch.ErrStale) {
			return
		}
		if !errors.Is(err, batch.ErrUnavailable) || s.now().After(end) || !wait.Sleep(ctx, time.Second) {
			s.log.Warn("recording the result of a webhook failed; it is sent again when its claim ends", zap.String("batch_id", d.BatchID), zap.Error(err))
			return
		}
	}
}

func (s *Sender) logResult(r route, d batch.Delivery, result batch.DeliveryResult) {
	fields := []zap.Field{
		zap.String("batch_id", d.BatchID), zap.String("type", eventType(d.Event)), zap.String("endpoint", s.nameFor(r, d)),
		zap.Int("attempt", d.Attempts), zap.Int("status", result.HTTPStatus),
	}
	switch result.State {
	case batch.DeliveryDelivered:
		s.log.Info("webhook delivered", fields...)
	case batch.DeliveryFailed:
		s.log.Warn("webhook given up", append(fields, zap.String("error", result.Error))...)
	default:
		s.log.Info("webhook failed and is retried", append(fields, zap.Duration("retry_in", result.RetryIn), zap.String("error", result.Error))...)
	}
}

// nameFor returns the address of a delivery without its query.
func (s *Sender) nameFor(r route, d batch.Delivery) string {
	if d.URL != "" {
		return nameOf(d.URL)
	}
	return r.Name()
}
