// Package clients has OpenAI's own libraries, as they are, use the program.
package clients

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/tidegate/tidegate/integration/tidegatetest"
)

const apiKey = "tg-clients"

func TestMain(m *testing.M) { os.Exit(tidegatetest.Main(m)) }

func start(t *testing.T) (*tidegatetest.Gateway, []*tidegatetest.Sim) {
	t.Helper()
	sims := tidegatetest.StartSims(t, 2)
	return tidegatetest.Serve(t, tidegatetest.ServeConfig{Sims: sims, APIKey: apiKey}), sims
}

func TestPython(t *testing.T) {
	python := filepath.Join(tidegatetest.Root(t), ".cache", "python", "bin", "python")
	gateway, sims := start(t)
	runScript(t, gateway, sims[0], python, "-W", "error::ResourceWarning", filepath.Join("python", "main.py"))
	wantAborted(t, sims, "python-abandons")
}

func TestNode(t *testing.T) {
	// The version from the packages, if there is one, because the library
	// requires a newer one than some systems have.
	node := filepath.Join("node", "node_modules", ".bin", "node")
	if _, err := os.Stat(node); err != nil {
		node = "node"
	}
	gateway, sims := start(t)
	runScript(t, gateway, sims[0], node, filepath.Join("node", "main.mjs"))
	wantAborted(t, sims, "node-abandons", "node-aborts")
}

// wantAborted asserts that a server saw that the client left.
func wantAborted(t *testing.T, sims []*tidegatetest.Sim, ids ...string) {
	t.Helper()
	for _, id := range ids {
		tidegatetest.Eventually(t, time.Second, "a server to see that "+id, func() bool {
			return tidegatetest.TotalCalls(t, sims...)[id].Aborted == 1
		})
	}
}

// scriptLimit limits the duration of a script.
const scriptLimit = 3 * time.Minute

// runScript runs the checks of a script, which prints "ok NAME" or "not ok
// NAME" for each and, behind "# ", why. direct is a server behind the gateway.
func runScript(t *testing.T, gateway *tidegatetest.Gateway, direct *tidegatetest.Sim, command ...string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), scriptLimit)
	defer cancel()
	script := exec.CommandContext(ctx, command[0], command[1:]...)
	script.Env = append(os.Environ(),
		"CLIENT_BASE_URL="+gateway.URL+"/v1", "CLIENT_API_KEY="+gateway.APIKey, "CLIENT_MODEL="+tidegatetest.Model,
		"CLIENT_DIRECT_URL="+direct.URL+"/v1",
		"PYTHONDONTWRITEBYTECODE=1")
	var complaints strings.Builder
	script.Stderr = &complaints
	printed, err := script.StdoutPipe()
	if err == nil {
		err = script.Start()
	}
	if err != nil {
		t.Fatalf("starting %s: %v (scripts/setup installs it)", command[0], err)
	}
	checks, readErr := readChecks(printed)
	if err := script.Wait(); err != nil {
		t.Errorf("%s: %v\n%s", command[0], err, complaints.String())
	}
	if readErr != nil {
		t.Errorf("reading the output of %s: %v", command[0], readErr)
	}
	for _, c := range checks {
		t.Run(c.name, func(t *testing.T) {
			if !c.ok {
				t.Error(c.why.String())
			}
		})
	}
	const fewest = 20
	if len(checks) < fewest {
		t.Errorf("%s made %d checks, want at least %d\n%s", command[0], len(checks), fewest, complaints.String())
	}
}

// checked is a script's output for one check.
type checked struct {
	name string
	ok   bool
	why  *strings.Builder
}

func readChecks(printed io.Reader) (checks []checked, err error) {
	lines := bufio.NewScanner(printed)
	for lines.Scan() {
		line := lines.Text()
		if name, ok := strings.CutPrefix(line, "ok "); ok {
			checks = append(checks, checked{name, true, new(strings.Builder)})
		} else if name, ok := strings.CutPrefix(line, "not ok "); ok {
			checks = append(checks, checked{name, false, new(strings.Builder)})
		} else if len(checks) > 0 {
			fmt.Fprintln(checks[len(checks)-1].why, line)
		}
	}
	return checks, lines.Err()
}
