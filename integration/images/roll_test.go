package images

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/tidegate/tidegate/integration/tidegatetest"
)

// fakeDocker keeps containers as lines of a file and notes what it is told. New
// ones have the state in the file "health".
const fakeDocker = `#!/bin/sh
cd "$STATE"
echo "$*" >> calls
case "$1 $2" in
"compose build") ;;
"compose ps") cat containers ;;
"compose up")
	want=${7#*=}
	n=$(grep -c . containers)
	while [ "$n" -lt "$want" ]; do
		n=$((n + 1))
		echo "new$(grep -c 'compose up' calls)" >> containers
	done
	;;
inspect*) case $4 in old*) echo healthy ;; *) cat health ;; esac ;;
stop*) [ "$(grep -c . containers)" -gt 2 ] || echo "too few" >> faults ;;
rm*) grep -v "^$2$" containers > rest; mv rest containers ;;
*) echo "unknown: $*" >> faults; exit 1 ;;
esac
`

// roll replaces each container, and never stops one before a new one is healthy.
func TestRoll(t *testing.T) {
	for _, c := range []struct {
		health, containers string
		fails              bool
	}{
		{"healthy", "new1\nnew2\n", false},
		{"unhealthy", "old1\nold2\nnew1\n", true},
	} {
		state, bin := t.TempDir(), t.TempDir()
		for name, text := range map[string]string{"containers": "old1\nold2\n", "health": c.health} {
			if err := os.WriteFile(filepath.Join(state, name), []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		if err := os.WriteFile(filepath.Join(bin, "docker"), []byte(fakeDocker), 0o700); err != nil {
			t.Fatal(err)
		}
		cmd := exec.CommandContext(t.Context(), filepath.Join(tidegatetest.Root(t), "deploy/roll"))
		cmd.Env = []string{"PATH=" + bin + ":" + os.Getenv("PATH"), "STATE=" + state}
		out, err := cmd.CombinedOutput()
		if (err != nil) != c.fails {
			t.Errorf("%s: %v\n%s", c.health, err, out)
		}
		text := func(name string) string {
			got, err := os.ReadFile(filepath.Join(state, name))
			if err != nil && !os.IsNotExist(err) {
				t.Fatal(err)
			}
			return string(got)
		}
		if got := text("containers"); got != c.containers {
			t.Errorf("%s: the containers are\n%swant\n%s", c.health, got, c.containers)
		}
		if got := text("faults"); got != "" {
			t.Errorf("%s: %s", c.health, got)
		}
		if calls := text("calls"); !strings.HasPrefix(calls, "compose build gateway\n") || !strings.Contains(calls, "compose up -d --no-deps --no-recreate --scale gateway=3 gateway\n") {
			t.Errorf("%s: docker was called with\n%s", c.health, calls)
		}
	}
}
