// Package planted tests the tests: it plants one bug at a time into a build of
// the program and wants the suites to find it.
package planted

import (
	"os"
	"testing"

	"github.com/tidegate/tidegate/integration/tidegatetest"
)

func TestMain(m *testing.M) { os.Exit(tidegatetest.Main(m)) }
