// Package faults breaks the gateway on purpose, at every place where it touches
// something outside itself, and checks what it promised.
package faults

import (
	"os"
	"testing"

	"github.com/tidegate/tidegate/integration/tidegatetest"
)

func TestMain(m *testing.M) { os.Exit(tidegatetest.Main(m)) }
