// Package besh tests that the clients and scripts of the batch server BESH, of
// both generations, work on the gateway when only their base URL is changed. The
// scripts are written anew here; they do what BESH's do.
package besh

import (
	"os"
	"testing"

	"github.com/tidegate/tidegate/integration/tidegatetest"
)

func TestMain(m *testing.M) { os.Exit(tidegatetest.Main(m)) }
