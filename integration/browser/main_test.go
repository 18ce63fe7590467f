// Package browser tests the dashboard in a real Chromium, on a gateway that
// lives in memory: dashboard/dashboardtest.
//
// A picture of every page is kept in the directory TIDEGATE_SCREENSHOTS,
// by default .cache/screenshots.
package browser

import (
	"flag"
	"fmt"
	"os"
	"testing"

	"go.uber.org/goleak"
)

// chromium is the browser that all tests share; each tab has a profile of its
// own in it.
var chromium *browser

func TestMain(m *testing.M) { os.Exit(run(m)) }

func run(m *testing.M) int {
	var err error
	if chromium, err = launch(); err != nil {
		fmt.Fprintln(os.Stderr, "starting chromium:", err)
		return 1
	}
	// So many tabs at a time keep two cores busy, and no more memory than a
	// container has.
	if err := flag.Set("test.parallel", "4"); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	status := m.Run()
	if err := chromium.close(); err != nil {
		fmt.Fprintln(os.Stderr, "ending chromium:", err)
		status = max(status, 1)
	}
	if err := goleak.Find(); err != nil && status == 0 {
		fmt.Fprintln(os.Stderr, "goroutines leak after the tests:", err)
		status = 1
	}
	return status
}
