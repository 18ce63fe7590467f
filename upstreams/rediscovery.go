package upstreams

import (
	"context"
	"sync"
	"time"

	"go.uber.org/zap"
)

const (
	// rediscoverInterval is the minimum time between two rounds.
	rediscoverInterval = time.Second
	// rediscoverTimeout limits the duration of a round.
	rediscoverTimeout = 2 * time.Second
)

// rediscovery asks all servers for their models when a client requests an unknown
// one: a server may have loaded it since the last discovery, as vLLM does with LoRA
// adapters.
type rediscovery struct {
	mu    sync.Mutex
	done  chan struct{} // guarded by mu; closed when the current round has ended
	begun time.Time     // guarded by mu; start of the last round
}

// lookupOrDiscover is like lookup, but runs model discovery before it reports a model
// as unknown.
func (p *Pool) lookupOrDiscover(ctx context.Context, model string) (s *snapshot, at *served, complete bool) {
	if s, at, complete = p.lookup(model); at != nil || !complete {
		return s, at, complete
	}
	select {
	case <-p.rediscover(ctx):
	case <-ctx.Done():
	}
	return p.lookup(model)
}

// rediscover starts model discovery on all servers that are up, unless a round is
// running or began less than rediscoverInterval ago. The returned channel is closed
// when the round has ended.
func (p *Pool) rediscover(ctx context.Context) <-chan struct{} {
	p.rediscovery.mu.Lock()
	defer p.rediscovery.mu.Unlock()
	done := p.rediscovery.done
	if since := time.Since(p.rediscovery.begun); done == nil || isClosed(done) && since >= rediscoverInterval {
		done = make(chan struct{})
		p.rediscovery.done, p.rediscovery.begun = done, time.Now()
		go func() {
			defer close(done)
			p.rediscoverAll(context.WithoutCancel(ctx)) // other requests wait for the round, too
		}()
	}
	return done
}

func isClosed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

func (p *Pool) rediscoverAll(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, rediscoverTimeout)
	defer cancel()
	s := p.now.Load()
	var round sync.WaitGroup
	for _, u := range s.upstreams {
		round.Go(func() { p.rediscoverOne(ctx, s, u) })
	}
	round.Wait()
}

func (p *Pool) rediscoverOne(ctx context.Context, s *snapshot, u *upstream) {
	p.mu.Lock()
	up := u.isUp()
	p.mu.Unlock()
	if !up {
		return // it is probed with backoff anyway
	}
	found, err := p.discover(ctx, s, u)
	if err != nil {
		u.probeSoon()
		if c := p.log.Check(zap.DebugLevel, "listing models failed"); c != nil {
			c.Write(zap.String("upstream", u.url), zap.Error(err))
		}
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if u.isUp() && !sameModels(u.models, found.models) {
		u.models, u.version = found.models, found.version
		p.publish()
	}
}
