// Package faults injects faults at every call of the gateway to the outside, and checks its
// guarantees.
package faults

import (
	"os"
	"testing"

	"github.com/tidegate/tidegate/integration/tidegatetest"
)

func TestMain(m *testing.M) { os.Exit(tidegatetest.Main(m)) }
