package upstreams

import (
	"context"
	"sync"
	"time"

	"go.uber.org/zap"
)

const (
	// askGap is the least time between two rounds of asking for an unknown model.
	askGap = time.Second
	// askWait is how long a round may take.
	askWait = 2 * time.Second
)

// asking asks servers for their models when somebody wants one that none has told:
// a server may have loaded it since it was asked last, as vLLM does with LoRA
// adapters.
type asking struct {
	mu    sync.Mutex
	done  chan struct{} // guarded by mu; closed when the round that runs is over
	begun time.Time     // guarded by mu; of the last round
}

// seek is where, and asks the servers before it calls a model unknown.
func (p *Pool) seek(ctx context.Context, model string) (s *snapshot, at *served, settled bool) {
	if s, at, settled = p.where(model); at != nil || !settled {
		return s, at, settled
	}
	select {
	case <-p.ask(ctx):
	case <-ctx.Done():
	}
	return p.where(model)
}

// ask has all servers that are up tell their models, unless they were asked within
// askGap. The channel it returns is closed when the round is over.
func (p *Pool) ask(ctx context.Context) <-chan struct{} {
	p.asking.mu.Lock()
	defer p.asking.mu.Unlock()
	done := p.asking.done
	if since := time.Since(p.asking.begun); done == nil || isClosed(done) && since >= askGap {
		done = make(chan struct{})
		p.asking.done, p.asking.begun = done, time.Now()
		go func() {
			defer close(done)
			p.askAll(context.WithoutCancel(ctx)) // others wait for it, too
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

func (p *Pool) askAll(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, askWait)
	defer cancel()
	s := p.now.Load()
	var round sync.WaitGroup
	for _, u := range s.upstreams {
		round.Go(func() { p.askOne(ctx, s, u) })
	}
	round.Wait()
}

func (p *Pool) askOne(ctx context.Context, s *snapshot, u *upstream) {
	p.mu.Lock()
	up := u.isUp()
	p.mu.Unlock()
	if !up {
		return // the prober asks it
	}
	found, err := p.discover(ctx, s, u)
	if err != nil {
		u.probeSoon()
		if c := p.log.Check(zap.DebugLevel, "asking for models"); c != nil {
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
