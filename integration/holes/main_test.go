// Package holes tests the whole program for security holes that other gateways, model servers
// and dashboards have had.
package holes

import (
	"os"
	"testing"

	"github.com/tidegate/tidegate/integration/tidegatetest"
)

func TestMain(m *testing.M) { os.Exit(tidegatetest.Main(m)) }
