//go:build !failpoints

package caddymodule

import "github.com/tidegate/tidegate/batch"

// withFailpoints changes nothing: see failpoints_on.go.
func withFailpoints(s batch.Store, q batch.Queue, f batch.Files, d batch.Dispatcher) (batch.Store, batch.Queue, batch.Files, batch.Dispatcher, error) {
	return s, q, f, d, nil
}
