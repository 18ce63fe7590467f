package examples

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/tidegate/tidegate/integration/tidegatetest"
)

// TestTroubleshootingCommands checks that every command of the troubleshooting page succeeds
// on a healthy gateway.
func TestTroubleshootingCommands(t *testing.T) {
	t.Parallel()
	page, err := os.ReadFile(filepath.Join(tidegatetest.Root(t), "docs", "troubleshooting.md"))
	if err != nil {
		t.Fatal(err)
	}
	g := tidegatetest.Serve(t, tidegatetest.ServeConfig{Sims: tidegatetest.StartSims(t, 1)})
	b := g.WaitEnd(t, g.Submit(t, tidegatetest.BatchInput(t, 3, nil)).ID, time.Minute)
	bin := t.TempDir()
	if err := os.Symlink(tidegatetest.Binary(t), filepath.Join(bin, "tidegate")); err != nil {
		t.Fatal(err)
	}
	env := []string{"TIDEGATE_SERVER=" + g.URL, "BATCH=" + b.ID, "PATH=" + bin + string(os.PathListSeparator) + os.Getenv("PATH")}
	commands := 0
	for i, block := range strings.Split(string(page), "```sh\n") {
		if i == 0 {
			continue
		}
		block, _, _ = strings.Cut(block, "```")
		for line := range strings.Lines(block) {
			commands++
			run(t, bin, env, "sh", "-c", line)
		}
	}
	if commands < 10 {
		t.Errorf("got %d commands, want at least 10", commands)
	}
}
