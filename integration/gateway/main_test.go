// Package gateway holds the tests of the whole program: processes that are
// killed, restarted, drained and reloaded under load.
package gateway

import (
	"os"
	"testing"

	"github.com/tidegate/tidegate/integration/tidegatetest"
)

func TestMain(m *testing.M) { os.Exit(tidegatetest.Main(m)) }
