// Package monitoring holds what deploy/monitoring ships (a dashboard of Grafana,
// alerts of Prometheus, a scaler of KEDA) and the documentation against real
// scrapes of the program.
package monitoring

import (
	"os"
	"testing"

	"github.com/tidegate/tidegate/integration/tidegatetest"
)

func TestMain(m *testing.M) { os.Exit(tidegatetest.Main(m)) }
