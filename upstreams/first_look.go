package upstreams

import (
	"slices"
	"sync"
	"time"
)

// A pool that was started waits for the first probe of each server. Servers that
// hang are waited for until lookEnough when another one is up, else until lookMost.
const (
	lookEnough = time.Second
	lookMost   = 5 * time.Second
)

// firstLook ends when every server has been probed once.
type firstLook struct {
	done   chan struct{}
	end    func() // closes done; may be called again
	begun  time.Time
	timers []*time.Timer
}

func newFirstLook() firstLook {
	done := make(chan struct{})
	return firstLook{done: done, end: sync.OnceFunc(func() { close(done) })}
}

// Looked is closed when every server has been probed once after Start, or has had
// time for it. Until then nothing is known of servers that are up.
func (p *Pool) Looked() <-chan struct{} { return p.look.done }

// beginLook begins the first look. mu is held.
func (p *Pool) beginLook() {
	p.look.begun = time.Now()
	p.look.timers = []*time.Timer{time.AfterFunc(lookEnough, p.noteProbed), time.AfterFunc(lookMost, p.look.end)}
	if len(p.upstreams) == 0 {
		p.look.end()
	}
}

// endLook stops waiting. mu is held.
func (p *Pool) endLook() {
	for _, t := range p.look.timers {
		t.Stop()
	}
	p.look.end()
}

// noteProbed ends the first look if enough servers have been probed.
func (p *Pool) noteProbed() {
	p.mu.Lock()
	defer p.mu.Unlock()
	waits := slices.ContainsFunc(p.upstreams, func(u *upstream) bool { return !u.probed })
	if waits && time.Since(p.look.begun) >= lookEnough {
		waits = !slices.ContainsFunc(p.upstreams, (*upstream).isUp)
	}
	if !waits {
		p.look.end()
	}
}
