// Package images tests what Dockerfile and compose file promise, without an
// engine that could build or run them: the program is built from what the
// Dockerfile copies as xcaddy builds it, the compose file is read by Compose's
// own library, and what both say is done with the program.
package images

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/tidegate/tidegate/integration/tidegatetest"
)

func TestMain(m *testing.M) { os.Exit(tidegatetest.Main(m)) }

func read(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(tidegatetest.Root(t), name))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}
