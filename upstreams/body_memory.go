package upstreams

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"github.com/tidegate/tidegate/internal/openai"
)

const (
	// smallBody is how much of every body is read whatever is in use, in bytes.
	smallBody = 64 << 10
	// bodyWait is how long a request waits for memory for its body.
	bodyWait = 10 * time.Second
)

// bodyMemory is the memory for the bodies of live requests that are held so
// that they can be sent again, or until their model is known.
//
// Half of it is shared. The other half belongs to one body at a time, which may
// grow to any allowed size: so bodies that wait for one another's memory cannot
// all stand still. The first smallBody bytes of each are always granted.
type bodyMemory struct {
	limit    atomic.Int64 // of all, in bytes
	streamed atomic.Int64 // bodies that were sent once because memory was short
	waited   atomic.Int64 // bodies that waited for memory
	refused  atomic.Int64 // bodies that got none

	mu      sync.Mutex
	used    int64         // guarded by mu; of the shared half
	large   *bodyRoom     // guarded by mu; the body that has the other half
	changed chan struct{} // guarded by mu; closed when memory is released
}

// largest is the largest body that is held, in bytes.
func (m *bodyMemory) largest() int64 { return m.limit.Load() / 2 }

// LargestBody is the largest body of a live request that is held to find its
// model or that a compressed one may become, in bytes.
func (p *Pool) LargestBody() int64 { return p.bodies.largest() }

// inUse is how much is held, in bytes.
func (m *bodyMemory) inUse() int64 {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.large != nil {
		return m.used + m.large.held
	}
	return m.used
}

// bodyRoom is what one body has of a bodyMemory.
type bodyRoom struct {
	memory *bodyMemory
	held   int64 // guarded by memory.mu
}

// grow makes the room size bytes large if there is memory for it.
func (r *bodyRoom) grow(size int64) bool {
	m := r.memory
	m.mu.Lock()
	defer m.mu.Unlock()
	return r.growLocked(size)
}

// growLocked is grow. memory.mu is held.
func (r *bodyRoom) growLocked(size int64) bool {
	m, more := r.memory, size-r.held
	switch {
	case m.large == r:
		r.held = size
		return true
	case more <= 0 || size <= smallBody || m.used+more <= m.limit.Load()/2:
		r.held = size
		m.used += more
		return true
	}
	return false
}

// wait makes the room size bytes large as soon as there is memory for it. The
// error is a 503 after bodyWait, or ctx's.
func (r *bodyRoom) wait(ctx context.Context, size int64) error {
	m := r.memory
	m.waited.Add(1)
	timer := time.NewTimer(bodyWait)
	defer timer.Stop()
	for {
		m.mu.Lock()
		granted := r.growLocked(size)
		if !granted && m.large == nil {
			m.used -= r.held
			m.large, r.held = r, size
			granted = true
		}
		if m.changed == nil {
			m.changed = make(chan struct{})
		}
		changed := m.changed
		m.mu.Unlock()
		if granted {
			return nil
		}
		select {
		case <-changed:
		case <-timer.C:
			m.refused.Add(1)
			return openai.Unavailable(retryAfter, "The gateway has no memory left for the body of this request (body_memory is %d bytes). Retry, or put 'model' first in the body.", m.limit.Load())
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// release gives the room back.
func (r *bodyRoom) release() {
	m := r.memory
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.large == r {
		m.large = nil
	} else {
		m.used -= r.held
	}
	r.held = 0
	if m.changed != nil {
		close(m.changed)
		m.changed = nil
	}
}
