package docs

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// scripts/help lists every script with a summary that fits a line.
func TestHelpListsEveryScript(t *testing.T) {
	root := filepath.Join("..", "..")
	printed, err := exec.CommandContext(t.Context(), filepath.Join(root, "scripts", "help")).CombinedOutput()
	if err != nil {
		t.Fatalf("scripts/help: %v\n%s", err, printed)
	}
	summaries := make(map[string]string)
	for line := range strings.Lines(string(printed)) {
		name, summary, _ := strings.Cut(line, " ")
		summaries[name] = strings.TrimSpace(summary)
	}
	for _, folder := range []string{".ci", "scripts", "deploy"} {
		entries, err := os.ReadDir(filepath.Join(root, folder))
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range entries {
			info, err := e.Info()
			if err != nil {
				t.Fatal(err)
			}
			if !info.Mode().IsRegular() || info.Mode()&0o100 == 0 {
				continue
			}
			name := folder + "/" + e.Name()
			if got := len(summaries[name]); got == 0 || got > 120 {
				t.Errorf("scripts/help has %q for %s, want 1 to 120 bytes", summaries[name], name)
			}
		}
	}
}
