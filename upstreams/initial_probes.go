package upstreams

import (
	"slices"
	"sync"
	"time"
)

// A pool that was started waits for the first probe of each server. It waits for hung
// servers until initialWait if another server is up, and until initialWaitMax
// otherwise.
const (
	initialWait    = time.Second
	initialWaitMax = 5 * time.Second
)

// initialProbes tracks the first probe of each server.
type initialProbes struct {
	done   chan struct{}
	end    func() // closes done; may be called repeatedly
	begun  time.Time
	timers []*time.Timer
}

func newInitialProbes() initialProbes {
	done := make(chan struct{})
	return initialProbes{done: done, end: sync.OnceFunc(func() { close(done) })}
}

// Probed returns a channel that is closed when every server has been probed once
// after Start, or has had time for it. Until then the state of the servers is not
// known.
func (p *Pool) Probed() <-chan struct{} { return p.initialProbes.done }

// beginInitialProbes starts waiting for the first probes. mu is held.
func (p *Pool) beginInitialProbes() {
	p.initialProbes.begun = time.Now()
	p.initialProbes.timers = []*time.Timer{time.AfterFunc(initialWait, p.noteProbed), time.AfterFunc(initialWaitMax, p.initialProbes.end)}
	if len(p.upstreams) == 0 {
		p.initialProbes.end()
	}
}

// endInitialProbes stops waiting. mu is held.
func (p *Pool) endInitialProbes() {
	for _, t := range p.initialProbes.timers {
		t.Stop()
	}
	p.initialProbes.end()
}

// noteProbed closes Probed if enough servers have been probed.
func (p *Pool) noteProbed() {
	p.mu.Lock()
	defer p.mu.Unlock()
	waits := slices.ContainsFunc(p.upstreams, func(u *upstream) bool { return !u.probed })
	if waits && time.Since(p.initialProbes.begun) >= initialWait {
		waits = !slices.ContainsFunc(p.upstreams, (*upstream).isUp)
	}
	if !waits {
		p.initialProbes.end()
	}
}
