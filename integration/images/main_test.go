// Package images tests Dockerfile and compose files without a container engine: the program
// is built from the files that the Dockerfile copies, with the steps of xcaddy, the compose
// file is read by Compose's own library, and the program is run with their commands.
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
