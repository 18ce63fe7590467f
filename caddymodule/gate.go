package caddymodule

import (
	"net/http"
	"sync/atomic"
	"time"
)

// startHold limits the time for which a request waits for a gateway that is starting. A load
// balancer sends requests as soon as the gateway listens.
const startHold = 10 * time.Second

// gate is a part of the gateway that requests depend on.
type gate struct {
	open  *atomic.Bool
	tried <-chan struct{} // closed when the part was opened, or failed to open
}

// settled reports whether the part was opened or failed to open.
func (g gate) settled() bool {
	select {
	case <-g.tried:
		return true
	default:
		return false
	}
}

// wait waits until the part was opened or failed to open, and reports whether it is
// open.
func (g gate) wait(r *http.Request) bool {
	if g.settled() {
		return g.open.Load()
	}
	timer := time.NewTimer(startHold)
	defer timer.Stop()
	select {
	case <-g.tried:
	case <-timer.C:
	case <-r.Context().Done():
	}
	return g.open.Load()
}
