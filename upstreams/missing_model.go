package upstreams

import (
	"time"

	"go.uber.org/zap"
)

const (
	// missingDelayMin is the time without requests for a model after an upstream that
	// lists it has answered that it does not exist. The time doubles with each
	// repetition, up to missingDelayMax.
	missingDelayMin = time.Second
	missingDelayMax = 10 * time.Second
)

// missingModel records that an upstream lists a model but does not serve it.
type missingModel struct {
	until time.Time
	delay time.Duration
}

// markModelMissing records that u answered that a model does not exist. u gets no
// more requests for the model, and its models are rediscovered at once. If it still
// lists the model, it gets a request again after a delay.
func (p *Pool) markModelMissing(u *upstream, model string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := time.Now()
	last, again := u.missing[model]
	if again && now.Before(last.until) {
		return // the answer to a request that was sent before
	}
	pause := missingDelayMin
	if again && now.Sub(last.until) < 3*missingDelayMax {
		pause = min(2*last.delay, missingDelayMax)
	}
	if u.missing == nil {
		u.missing = make(map[string]missingModel)
	}
	u.missing[model] = missingModel{now.Add(pause), pause}
	p.log.Warn("upstream does not serve a model that it lists", zap.String("upstream", u.url), zap.String("model", model))
	u.rediscover.Store(true)
	u.probeSoon()
	p.publish()
	time.AfterFunc(pause, func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		p.publish()
	})
}

// serves reports whether requests for a model that u lists may be sent to u. Pool.mu
// is held.
func (u *upstream) serves(model string, now time.Time) bool {
	d, is := u.missing[model]
	return !is || !now.Before(d.until)
}
