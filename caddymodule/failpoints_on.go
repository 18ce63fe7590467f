//go:build failpoints

package caddymodule

import (
	"fmt"
	"os"

	"github.com/tidegate/tidegate/batch"
	"github.com/tidegate/tidegate/batch/failpoint"
)

// withFailpoints wraps the engine's dependencies with the failpoints of
// TIDEGATE_FAILPOINTS.
func withFailpoints(s batch.Store, q batch.Queue, f batch.Files, d batch.Dispatcher) (batch.Store, batch.Queue, batch.Files, batch.Dispatcher, error) {
	points, err := failpoint.Parse(os.Getenv("TIDEGATE_FAILPOINTS"))
	if err != nil {
		return nil, nil, nil, nil, fmt.Errorf("TIDEGATE_FAILPOINTS: %w", err)
	}
	set := failpoint.NewSet(points, os.Stderr)
	return set.Store(s), set.Queue(q), set.Files(f), set.Dispatcher(d), nil
}
