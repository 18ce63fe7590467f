package upstreams

import (
	"context"
	"net"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/tidegate/tidegate/internal/descriptors"
)

// Shortage describes a resource that the gateway itself has run out of, so that it
// could not connect to upstreams. It says nothing about the upstreams.
type Shortage struct {
	Resource string    `json:"resource"` // "file descriptors"
	Remedy   string    `json:"remedy"`
	Since    time.Time `json:"since"` // of the first of these failures in a row
	Last     time.Time `json:"last"`
	Count    int64     `json:"count"` // failures since then
}

// shortageMemory is the time for which a shortage counts as current after its last failure.
const shortageMemory = 30 * time.Second

// shortages stores the current shortage.
type shortages struct {
	mu  sync.Mutex
	now Shortage // guarded by mu; zero when there was none
}

// isOwnShortage reports whether err is a shortage of the gateway itself, and records
// it.
func (p *Pool) isOwnShortage(err error) bool {
	resource, remedy := descriptors.Shortage(err)
	if resource == "" {
		return false
	}
	s := &p.shortages
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	if s.now.Resource != resource || now.Sub(s.now.Last) > shortageMemory {
		s.now = Shortage{Resource: resource, Remedy: remedy, Since: now}
		p.log.Error("gateway is out of a resource", zap.String("resource", resource), zap.Error(err), zap.String("remedy", remedy))
	}
	s.now.Last = now
	s.now.Count++
	return true
}

// Shortage returns the current shortage, nil if there is none.
func (p *Pool) Shortage() *Shortage {
	p.shortages.mu.Lock()
	defer p.shortages.mu.Unlock()
	s := p.shortages.now
	if s.Count == 0 || time.Since(s.Last) > shortageMemory {
		return nil
	}
	return &s
}

// reserved is the context key that allows connections to use the reserve of
// descriptors.
type reserved struct{}

// withReserve allows requests with the returned context to connect with descriptors
// of the reserve. It is used for the gateway's own few requests.
func withReserve(ctx context.Context) context.Context {
	return context.WithValue(ctx, reserved{}, true)
}

// dialWithinLimit wraps dial so that it does not use the reserve of descriptors.
func (p *Pool) dialWithinLimit(dial dialFunc) dialFunc {
	return func(ctx context.Context, network, addr string) (net.Conn, error) {
		if ctx.Value(reserved{}) == nil {
			taken, ok := p.takeDescriptor()
			if !ok {
				return nil, &net.OpError{Op: "dial", Net: network, Err: descriptors.ErrReserved}
			}
			defer taken()
		}
		return dial(ctx, network, addr)
	}
}
