// Package cli implements the client commands, the simulated server and the demo. It does
// not depend on Caddy.
package cli
