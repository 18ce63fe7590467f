package scheduler

import (
	"sync"

	"github.com/tidegate/tidegate/internal/wait"
)

// mailbox holds functions that other goroutines want the loop to run, in order.
type mailbox struct {
	bell chan struct{} // the loop has something to do

	mu     sync.Mutex
	posted []func() // guarded by mu
}

func newMailbox() *mailbox { return &mailbox{bell: make(chan struct{}, 1)} }

// post makes the loop run f. It never waits.
func (m *mailbox) post(f func()) {
	m.mu.Lock()
	m.posted = append(m.posted, f)
	m.mu.Unlock()
	m.Wake()
}

// Wake makes the loop look for work.
func (m *mailbox) Wake() { wait.Ring(m.bell) }

// deliver runs what was posted before the call, and reports whether that was anything.
func (m *mailbox) deliver() bool {
	m.mu.Lock()
	todo := m.posted
	m.posted = nil
	m.mu.Unlock()
	for _, f := range todo {
		f()
	}
	return len(todo) > 0
}
