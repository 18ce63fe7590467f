package caddymodule

import (
	"fmt"
	"sync"
	"sync/atomic"

	"github.com/caddyserver/caddy/v2"
	"go.uber.org/zap"

	"github.com/tidegate/tidegate/access/limits"
	"github.com/tidegate/tidegate/upstreams"
)

// pools holds the single pool of the process. Configurations share it independently
// of their store: live requests are not affected if the store changes.
var pools = caddy.NewUsagePool()

const thePool = "pool"

// sharedPool is the pool of upstreams with the settings of all configurations.
type sharedPool struct {
	*upstreams.Pool

	live   atomic.Bool // requests can be served
	limits *limits.Limiter
	log    *zap.Logger

	mu          sync.Mutex // guards what follows
	generations generations[upstreams.Config]
	keeper      *limitKeeper // nil before start
}

func loadPool() (*sharedPool, error) {
	value, _, err := pools.LoadOrNew(thePool, func() (caddy.Destructor, error) {
		// It outlives the configuration that created it, and so must its log.
		log := caddy.Log().Named("tidegate.pool")
		return &sharedPool{Pool: upstreams.NewPool(log), limits: limits.New(nil), log: log}, nil
	})
	if err != nil {
		return nil, err
	}
	return value.(*sharedPool), nil
}

// gate returns the gate of live requests.
func (p *sharedPool) gate() gate { return gate{&p.live, p.Probed()} }

// start applies the settings of a generation and admits live requests. dataDir has the use
// of limits.
func (p *sharedPool) start(cfg *upstreams.Config, dataDir string) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if err := p.Apply(*cfg); err != nil {
		return fmt.Errorf("applying pool: %w", err)
	}
	p.keepLimits(dataDir)
	p.Start()
	p.generations.add(cfg)
	p.live.Store(true)
	return nil
}

// stop removes a generation.
func (p *sharedPool) stop(cfg *upstreams.Config) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if before := p.generations.remove(cfg); before != nil {
		return p.Restore(*before)
	}
	return nil
}

// Destruct closes the pool when no configuration uses it any more.
func (p *sharedPool) Destruct() error {
	p.live.Store(false)
	if p.keeper != nil {
		p.keeper.stop()
	}
	p.Close()
	return nil
}
