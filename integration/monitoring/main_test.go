// Package monitoring checks the files of deploy/monitoring (a Grafana dashboard, Prometheus
// alerts, a KEDA scaler) and the documentation against scrapes of the program.
package monitoring

import (
	"os"
	"testing"

	"github.com/tidegate/tidegate/integration/tidegatetest"
)

func TestMain(m *testing.M) { os.Exit(tidegatetest.Main(m)) }
