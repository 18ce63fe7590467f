package tidegatetest

import (
	"fmt"
	"net/http"
	"os"
	"testing"

	"go.uber.org/goleak"
)

// Main runs the tests of a package and returns the exit code: that of the tests, or 1 if
// they leaked a goroutine. Idle connections of this package's and of the default client are
// closed first.
func Main(m *testing.M) int {
	code := m.Run()
	liveClient.CloseIdleConnections()
	http.DefaultClient.CloseIdleConnections()
	if code != 0 {
		return code
	}
	if err := goleak.Find(); err != nil {
		fmt.Fprintln(os.Stderr, "after the tests:", err)
		return 1
	}
	return 0
}
