package caddymodule

import (
	"net/http"
	"sync/atomic"
	"time"
)

// startHold is how long a request waits for a gateway that is starting. A balancer
// sends requests as soon as the gateway listens.
const startHold = 10 * time.Second

// gate is a part of the gateway that requests need.
type gate struct {
	open  *atomic.Bool
	tried <-chan struct{} // closed when the part has been opened, or could not be
}

// wait waits until it is known whether the part is open, and reports whether it is.
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
