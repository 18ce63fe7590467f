package caddymodule

import (
	"fmt"
	"sync"
	"sync/atomic"

	"github.com/caddyserver/caddy/v2"

	"github.com/tidegate/tidegate/upstreams"
)

// pools holds the single pool of the process. Configurations share it independently
// of their store: live requests are not affected if the store changes.
var pools = caddy.NewUsagePool()

const thePool = "pool"

// sharedPool is the pool of upstreams with the settings of all configurations.
type sharedPool struct {
	*upstreams.Pool

	live atomic.Bool // requests can be served

	mu          sync.Mutex
	generations generations[upstreams.Config] // guarded by mu
}

func loadPool() (*sharedPool, error) {
	value, _, err := pools.LoadOrNew(thePool, func() (caddy.Destructor, error) {
		// It outlives the configuration that created it, and so must its log.
		return &sharedPool{Pool: upstreams.NewPool(caddy.Log().Named("tidegate.pool"))}, nil
	})
	if err != nil {
		return nil, err
	}
	return value.(*sharedPool), nil
}

// gate returns the gate of live requests.
func (p *sharedPool) gate() gate { return gate{&p.live, p.Probed()} }

// start applies the settings of a generation and admits live requests.
func (p *sharedPool) start(cfg *upstreams.Config) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if err := p.Apply(*cfg); err != nil {
		return fmt.Errorf("applying pool: %w", err)
	}
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
	p.Close()
	return nil
}
