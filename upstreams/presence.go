package upstreams

import (
	"sync"
	"time"
)

// presence knows for how long batch lines were on an upstream, of all gateways.
type presence struct {
	mu    sync.Mutex
	busy  bool          // guarded by mu; some are
	since time.Time     // guarded by mu; of busy
	total time.Duration // guarded by mu; that some were, up to since
	quiet chan struct{} // cap 1: busy ended
}

// noteBatch takes note that the first batch line came or the last one ended.
func (u *upstream) noteBatch() {
	p := &u.presence
	p.mu.Lock()
	defer p.mu.Unlock()
	busy := u.hasBatch()
	if busy == p.busy {
		return
	}
	now := time.Now()
	if p.busy {
		p.total += now.Sub(p.since)
		select {
		case p.quiet <- struct{}{}:
		default:
		}
	}
	p.busy, p.since = busy, now
}

// hasBatch reports whether batch lines of any gateway are in flight.
func (u *upstream) hasBatch() bool { return u.load.Load() >= oneBatch || u.others.Load() >= oneBatch }

// batchTime is for how long batch lines were on the upstream, up to now.
func (u *upstream) batchTime(now time.Time) time.Duration {
	p := &u.presence
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.busy {
		return p.total + max(0, now.Sub(p.since))
	}
	return p.total
}
