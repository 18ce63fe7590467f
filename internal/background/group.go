// Package background runs goroutines that have an owner, which stops them and waits for
// them.
package background

import (
	"context"
	"sync"
)

// Group is a set of goroutines with one context and one owner. Its methods may be called
// from any goroutine. See NewGroup.
type Group struct {
	ctx    context.Context
	cancel context.CancelFunc

	mu      sync.Mutex
	idle    sync.Cond // running is 0; its lock is mu
	running int       // guarded by mu
	closed  bool      // guarded by mu; Start starts nothing more
}

// NewGroup returns a Group without goroutines. Its context ends with Stop, or with parent.
func NewGroup(parent context.Context) *Group {
	g := new(Group)
	g.ctx, g.cancel = context.WithCancel(parent)
	g.idle.L = &g.mu
	return g
}

// Context returns the context of the group.
func (g *Group) Context() context.Context { return g.ctx }

// Start runs f in a goroutine of its own, with the context of the group, and reports
// whether it did. After Wait has returned it starts nothing and returns false.
func (g *Group) Start(f func(ctx context.Context)) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.closed {
		return false
	}
	g.running++
	go func() {
		defer g.end()
		f(g.ctx)
	}()
	return true
}

func (g *Group) end() {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.running--; g.running == 0 {
		g.idle.Broadcast()
	}
}

// Stop ends the context of the group. It does not wait for the goroutines.
func (g *Group) Stop() { g.cancel() }

// WaitIdle waits until no goroutine of the group runs. Others may be started afterwards.
func (g *Group) WaitIdle() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.awaitIdle()
}

// Wait waits until all goroutines have ended, including those that are started while it
// waits. When it returns, nothing runs and nothing can be started.
func (g *Group) Wait() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.awaitIdle()
	g.closed = true
}

// awaitIdle waits until running is 0. The caller holds mu.
func (g *Group) awaitIdle() {
	for g.running > 0 {
		g.idle.Wait()
	}
}
