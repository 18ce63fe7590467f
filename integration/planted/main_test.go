// Package planted tests the tests: it enables one bug at a time in a build of the program
// and checks that the suites find it.
package planted

import (
	"os"
	"testing"

	"github.com/tidegate/tidegate/integration/tidegatetest"
)

func TestMain(m *testing.M) { os.Exit(tidegatetest.Main(m)) }
