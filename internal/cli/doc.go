// Package cli is what the client commands, the simulated server and the demo
// of the command line do. It knows nothing of Caddy.
package cli
