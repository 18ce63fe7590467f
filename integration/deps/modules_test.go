package deps

import (
	"encoding/json"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"github.com/tidegate/tidegate/integration/tidegatetest"
)

// onlyTests are modules that only unit tests import. Modules that only tests of the whole
// program import belong in integration/go.mod.
var onlyTests = []string{
	"github.com/google/go-cmp",
	"go.uber.org/goleak",
}

// goMod is a part of the output of `go mod edit -json`.
type goMod struct {
	Go      string
	Require []struct {
		Path, Version string
		Indirect      bool
	}
}

func readGoMod(t *testing.T, dir string) (mod goMod) {
	t.Helper()
	if err := json.Unmarshal(goCommand(t, dir, "mod", "edit", "-json"), &mod); err != nil {
		t.Fatal(err)
	}
	return mod
}

// goCommand runs a go command in a folder of the program's module, without the workspace.
func goCommand(t *testing.T, dir string, args ...string) []byte {
	t.Helper()
	command := exec.CommandContext(t.Context(), "go", args...)
	command.Dir = tidegatetest.Root(t) + "/" + dir
	command.Env = append(os.Environ(), "GOWORK=off")
	var stderr strings.Builder
	command.Stderr = &stderr
	out, err := command.Output()
	if err != nil {
		t.Fatalf("go %s in %q: %v\n%s", strings.Join(args, " "), dir, err, stderr.String())
	}
	return out
}

// TestProgramRequiresNoTestModules checks that go.mod requires only modules that the program
// imports, and onlyTests, because every build of Caddy with Tidegate gets its requirements.
func TestProgramRequiresNoTestModules(t *testing.T) {
	imported := strings.Fields(string(goCommand(t, "", "list", "-deps", "-f", "{{with .Module}}{{.Path}}{{end}}", ".", "./cmd/...")))
	if len(imported) == 0 {
		t.Fatal("go list -deps printed no module")
	}
	for _, r := range readGoMod(t, "").Require {
		if used := slices.Contains(imported, r.Path); !r.Indirect && used == slices.Contains(onlyTests, r.Path) {
			t.Errorf("go.mod requires %s: imported by the program = %v, listed in onlyTests = %v, want one of them", r.Path, used, used)
		}
	}
}

// The tests run the code of other modules that users of the program get.
func TestModulesAgreeOnVersions(t *testing.T) {
	program, tests := readGoMod(t, ""), readGoMod(t, "integration")
	if program.Go != tests.Go {
		t.Errorf("integration/go.mod has go %s, want %s as in go.mod", tests.Go, program.Go)
	}
	versions := make(map[string]string)
	for _, r := range program.Require {
		versions[r.Path] = r.Version
	}
	for _, r := range tests.Require {
		if want, shared := versions[r.Path]; shared && r.Version != want {
			t.Errorf("integration/go.mod requires %s %s, want %s as in go.mod", r.Path, r.Version, want)
		}
	}
}
