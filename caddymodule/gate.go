package caddymodule

import (
	"net/http"
	"sync/atomic"
	"time"
)

// startHold is how long a request waits for a gateway that is starting, because a
// load balancer sends requests as soon as the gateway listens.
const startHold = 10 * time.Second

// gate is a part of the gateway that requests depend on.
type gate struct {
	open  *atomic.Bool
	tried <-chan struct{} // closed when the part was opened, or failed to open
}

// wait waits until the part was opened or failed to open, and reports whether it is
// open.
func (g gate) wait(r *http.Request) bool {
	select {
	case <-g.tried:
		return g.open.Load()
	default:
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
