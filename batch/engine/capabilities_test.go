package engine_test

import (
	"testing"

	"github.com/tidegate/tidegate/batch/batchtest"
	"github.com/tidegate/tidegate/batch/engine"
)

// The wrappers of the engine keep the optional features of drivers.
func TestWrappersKeepCapabilities(t *testing.T) {
	t.Parallel()
	batchtest.KeepCapabilities(t, batchtest.Wrappers{Store: engine.WrapStore, Queue: engine.WrapQueue})
}
