package upstreams

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"github.com/tidegate/tidegate/internal/openai"
)

const (
	// smallBody is the number of bytes of each body that is read regardless of memory
	// use.
	smallBody = 64 << 10
	// bodyWait limits how long a request waits for memory for its body.
	bodyWait = 10 * time.Second
)

// bodyMemory limits the memory for the bodies of live requests, which are kept for
// retries or until their model is known.
//
// Half of it is shared. The other half is assigned to one body at a time, which may
// grow to any allowed size: this prevents a deadlock between bodies that wait for
// each other's memory. The first smallBody bytes of each body are always granted.
type bodyMemory struct {
	limit    atomic.Int64 // in total, in bytes
	streamed atomic.Int64 // bodies sent once, without retries, because memory was short
	waited   atomic.Int64 // bodies that waited for memory
	refused  atomic.Int64 // bodies that were refused

	mu      sync.Mutex
	used    int64         // guarded by mu; of the shared half
	large   *bodyRoom     // guarded by mu; the body that holds the other half
	changed chan struct{} // guarded by mu; closed when memory is released
}

// largest returns the size of the largest body that can be kept, in bytes.
func (m *bodyMemory) largest() int64 { return m.limit.Load() / 2 }

// LargestBody returns the maximum size of a live request body that is kept to find
// its model, or of a compressed body after decompression, in bytes.
func (p *Pool) LargestBody() int64 { return p.bodies.largest() }

// inUse returns the memory in use, in bytes.
func (m *bodyMemory) inUse() int64 {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.large != nil {
		return m.used + m.large.held
	}
	return m.used
}

// bodyRoom is the memory that is assigned to one body.
type bodyRoom struct {
	memory *bodyMemory
	held   int64 // guarded by memory.mu
}

// grow extends the room to size bytes and reports whether there was memory for it.
func (r *bodyRoom) grow(size int64) bool {
	m := r.memory
	m.mu.Lock()
	defer m.mu.Unlock()
	return r.growLocked(size)
}

// growLocked implements grow. memory.mu is held.
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

// wait extends the room to size bytes as soon as memory is available. The error is a
// 503 after bodyWait, or ctx's.
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

// release returns the memory.
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
