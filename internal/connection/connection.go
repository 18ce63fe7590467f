// Package connection changes the deadlines of a response's connection from outside its
// handler.
package connection

import "net/http"

// Control returns a controller of the connection that w answers. Other goroutines than the
// handler's may set deadlines with it, which net/http permits: it passes over the writers
// of middleware, which are for the handler alone. Caddy's keep the deadline that was set,
// and read it with each Write (caddyhttp.IdleTimeoutWriter).
//
// A deadline that is set while nothing is being read or written may be replaced by that
// middleware before the next Read or Write.
func Control(w http.ResponseWriter) *http.ResponseController {
	for {
		below, ok := w.(interface{ Unwrap() http.ResponseWriter })
		if !ok {
			return http.NewResponseController(w)
		}
		w = below.Unwrap()
	}
}
