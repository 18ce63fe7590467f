package upstreams

import (
	"math"
	"sync"
	"time"
)

// waker signals that a batch line may come now that had to be held back for some
// time.
type waker struct {
	mu    sync.Mutex
	timer *time.Timer // guarded by mu; nil before the first
	at    time.Time   // guarded by mu; when it fires
}

// wakeFor has Freed deliver a value when the first server of those that have a free
// slot and hold lines back takes one again.
func (p *Pool) wakeFor(at *served) {
	first := int64(math.MaxInt64)
	for _, c := range at.up {
		// Those that are shut have timers of their own.
		if !c.shut() && c.gate.Load() == 0 && c.hasSlot(c.load.Load()) {
			first = min(first, max(0, c.pace.open()-c.age()))
		}
	}
	if first != math.MaxInt64 {
		p.waker.in(time.Duration(first), p.signal)
	}
}

// in calls f after d, unless it will be called earlier.
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
