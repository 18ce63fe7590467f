// Package besh tests that the clients and scripts of the batch server BESH, of
// both generations, work on the gateway with another base URL. The scripts are
// reimplemented here and make the same calls.
package besh

import (
	"os"
	"testing"

	"github.com/tidegate/tidegate/integration/tidegatetest"
)

func TestMain(m *testing.M) { os.Exit(tidegatetest.Main(m)) }
