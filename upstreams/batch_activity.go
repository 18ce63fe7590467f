package upstreams

import (
	"sync"
	"time"
)

// batchActivity tracks for how long batch lines of any gateway were in flight on an
// upstream.
type batchActivity struct {
	mu    sync.Mutex
	busy  bool          // guarded by mu; lines are in flight
	since time.Time     // guarded by mu; of busy
	total time.Duration // guarded by mu; time with lines in flight, up to since
	idle  chan struct{} // cap 1: busy ended
}

// updateBatchActivity is called after the first batch line has started or the last
// one has ended.
func (u *upstream) updateBatchActivity() {
	p := &u.batchActivity
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
		case p.idle <- struct{}{}:
		default:
		}
	}
	p.busy, p.since = busy, now
}

// hasBatch reports whether batch lines of any gateway are in flight.
func (u *upstream) hasBatch() bool { return u.load.Load() >= oneBatch || u.others.Load() >= oneBatch }

// batchTime returns for how long batch lines were in flight on the upstream, up to
// now.
func (u *upstream) batchTime(now time.Time) time.Duration {
	p := &u.batchActivity
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.busy {
		return p.total + max(0, now.Sub(p.since))
	}
	return p.total
}
