package upstreams

import (
	"math"
	"sync"
	"time"
)

// waker signals when a held-back batch line may be sent.
type waker struct {
	mu    sync.Mutex
	timer *time.Timer // guarded by mu; nil before the first
	at    time.Time   // guarded by mu; when it fires
}

// wakeFor makes Freed deliver a value when the first server that has a free slot and
// holds lines back accepts one again. fit, unless nil, reports whether a server may be used:
// one that may not would be a reason to try again at once, for ever.
func (p *Pool) wakeFor(at *served, fit func(*Candidate) bool) {
	first := int64(math.MaxInt64)
	for _, c := range at.up {
		// Upstreams that are closed to batch lines have their own timers.
		if !c.closedToBatch() && c.trialAt.Load() == 0 && c.hasSlot(c.load.Load()) && (fit == nil || fit(c)) {
			now := c.age()
			first = min(first, max(0, c.opensAt(now)-now))
		}
	}
	if first != math.MaxInt64 {
		p.waker.in(time.Duration(first), p.signal)
	}
}

// in calls f after d, unless a call is scheduled earlier.
func (w *waker) in(d time.Duration, f func()) {
	now := time.Now()
	w.mu.Lock()
	defer w.mu.Unlock()
	at := now.Add(d)
	if w.at.After(now) && !at.Before(w.at) {
		return
	}
	w.at = at
	if w.timer == nil {
		w.timer = time.AfterFunc(d, f)
		return
	}
	w.timer.Reset(d)
}
