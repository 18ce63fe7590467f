package upstreams

import (
	"time"

	"go.uber.org/zap"
)

const (
	// disownFirst is how long an upstream that lists a model, and answers that
	// it does not exist, gets no request for it. It doubles while that goes on,
	// up to disownMost.
	disownFirst = time.Second
	disownMost  = 10 * time.Second
)

// disowned is a model that an upstream has listed and does not know.
type disowned struct {
	until time.Time
	pause time.Duration
}

// disown takes note that u answered that a model does not exist. It gets no
// more requests for it, and is asked for its models at once. If it still lists
// the model, it gets one again after a pause.
func (p *Pool) disown(u *upstream, model string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := time.Now()
	last, again := u.disowned[model]
	if again && now.Before(last.until) {
		return // of a request that was sent before
	}
	pause := disownFirst
	if again && now.Sub(last.until) < 3*disownMost {
		pause = min(2*last.pause, disownMost)
	}
	if u.disowned == nil {
		u.disowned = make(map[string]disowned)
	}
	u.disowned[model] = disowned{now.Add(pause), pause}
	p.log.Warn("upstream does not know a model that it listed", zap.String("upstream", u.url), zap.String("model", model))
	u.rediscover.Store(true)
	u.probeSoon()
	p.publish()
	time.AfterFunc(pause, func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		p.publish()
	})
}

// knows reports whether a model that u lists may be asked of it. Pool.mu is
// held.
func (u *upstream) knows(model string, now time.Time) bool {
	d, is := u.disowned[model]
	return !is || !now.Before(d.until)
}
