// Package connection changes the write deadline of a response's connection from outside its
// handler.
package connection

import "net/http"

// Control returns a controller of the connection that w answers. Other goroutines than the
// handler's may set write deadlines with it, which net/http permits: it passes over the
// writers of middleware, which are for the handler alone. Caddy's keeps the deadline that
// was set, and reads it with each Write (caddyhttp.IdleTimeoutWriter). A deadline that is
// set while nothing is being written may be replaced by it before the next Write.
//
// It is not for read deadlines: Caddy's reader sets the one that it knows after an error.
// Any goroutine may set those with http.NewResponseController.
func Control(w http.ResponseWriter) *http.ResponseController {
	for {
		below, ok := w.(interface{ Unwrap() http.ResponseWriter })
		if !ok {
			return http.NewResponseController(w)
		}
		w = below.Unwrap()
	}
}
