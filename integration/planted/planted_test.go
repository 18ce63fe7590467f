package planted

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tidegate/tidegate/integration/tidegatetest"
)

// suite is a run of tests.
type suite struct {
	pkg   string // folder
	run   string
	flags []string
	// patient are additional flags for runs without a bug. A hang is detected soon, but
	// a loaded machine must not count as a hang. They run less than the suites do by
	// themselves: they only check that this build passes.
	patient []string
	// tries limits the runs of a suite that finds a bug only with luck; 0 is one run, which
	// must find it. A run without a bug is never repeated.
	tries int
}

const (
	module = "github.com/tidegate/tidegate"
	// switches is the package that planted bugs call to check whether they are enabled. It
	// exists only in the builds of this test.
	switches = `package planted

import (
	"os"
	"strings"
)

var wanted = os.Getenv("PLANTED_BUG")

func Is(bug string) bool { return wanted == bug }

func Or(bug, right, wrong string) string {
	if Is(bug) {
		return wrong
	}
	return right
}

// Without puts something else in a part of a text, which must be there.
func Without(bug, text, part, other string) string {
	if !strings.Contains(text, part) {
		panic("no " + part + " in " + text)
	}
	return Or(bug, text, strings.ReplaceAll(text, part, other))
}
`
)

// planted is the texts of files with all bugs in them, each asleep.
func planted(t *testing.T) map[string]string {
	t.Helper()
	texts := map[string]string{"internal/planted/planted.go": switches}
	for _, b := range bugs {
		for _, e := range b.edits {
			text, known := texts[e.file]
			if !known {
				content, err := os.ReadFile(filepath.Join(tidegatetest.Root(t), e.file))
				if err != nil {
					t.Fatal(err)
				}
				text = imported(string(content))
			}
			if strings.Count(text, e.from) != 1 {
				t.Fatalf("%s: %s has %d times %q", b.name, e.file, strings.Count(text, e.from), e.from)
			}
			texts[e.file] = strings.Replace(text, e.from, e.to, 1)
		}
	}
	return texts
}

// imported is the text of a file that imports the switches as well.
func imported(text string) string {
	head, rest, _ := strings.Cut(text, "\n\n")
	if !strings.HasPrefix(head, "package ") { // a comment before it
		at := strings.Index(text, "\npackage ")
		end := at + 1 + strings.Index(text[at+1:], "\n")
		head, rest = text[:end], text[end:]
	}
	return head + "\n\nimport \"" + module + "/internal/planted\"\n\n" + rest
}

// limit limits the time of a suite to find a bug.
const limit = 5 * time.Minute

// TestPlantedBugs checks that every bug is found by its suite with the expected failure, and
// that the suite passes when no bug is enabled.
func TestPlantedBugs(t *testing.T) {
	t.Parallel()
	files := planted(t)
	overlay := tidegatetest.Overlay(t, files)
	suites := make(map[string]string) // folder to a program of its tests
	dir := t.TempDir()
	for _, b := range bugs {
		suites[b.found.pkg] = filepath.Join(dir, strings.ReplaceAll(b.found.pkg, "/", "-"))
	}
	var building sync.WaitGroup
	t.Cleanup(building.Wait)
	building.Go(func() {
		for pkg, program := range suites {
			command := exec.CommandContext(t.Context(), "go", slices.Concat([]string{"test", "-c", "-vet=off", "-o", program}, overlay, []string{"./" + pkg})...)
			command.Dir = tidegatetest.Root(t)
			if printed, err := command.CombinedOutput(); err != nil {
				t.Errorf("%s: %v\n%s", command, err, printed)
			}
		}
	})
	// Without TIDEGATE_FAILPOINTS this program does what one without failpoints does.
	program := tidegatetest.ChangedBinary(t, "tidegate-planted", files, "-tags", "failpoints")
	building.Wait()
	if t.Failed() {
		return
	}
	env := append(os.Environ(), "TIDEGATE_BIN="+program, "TIDEGATE_FAULTY_BIN="+program)
	// try runs a suite with a bug enabled, or none.
	try := func(t *testing.T, s suite, bug string, flags ...string) (printed []byte, err error) {
		t.Helper()
		ctx, cancel := context.WithTimeout(t.Context(), limit)
		defer cancel()
		command := exec.CommandContext(ctx, suites[s.pkg], slices.Concat([]string{"-test.run=" + s.run, "-test.timeout=" + limit.String(), "-test.parallel=1"}, s.flags, flags)...)
		command.Dir = filepath.Join(tidegatetest.Root(t), s.pkg)
		command.Env = append(slices.Clone(env), "PLANTED_BUG="+bug)
		return command.CombinedOutput()
	}
	tried := make(map[string]bool)
	for _, b := range bugs {
		t.Run(strings.ReplaceAll(b.name, " ", "_"), func(t *testing.T) {
			t.Parallel()
			for n := 1; ; n++ {
				printed, err := try(t, b.found, b.name)
				switch {
				case err == nil && n < b.found.tries:
					t.Logf("%s did not find it in run %d", b.found.run, n)
					continue
				case err == nil:
					t.Errorf("%s did not find it in %d runs:\n%.2000s", b.found.run, n, printed)
				case !regexp.MustCompile(b.says).Match(printed):
					t.Errorf("%s failed, but not for this (%v):\n%.6000s", b.found.run, err, printed)
				}
				return
			}
		})
		if tried[b.found.run] {
			continue
		}
		tried[b.found.run] = true
		t.Run("none_for_"+strings.Trim(b.found.run, "^$"), func(t *testing.T) {
			t.Parallel()
			if printed, err := try(t, b.found, "", b.found.patient...); err != nil {
				t.Errorf("%s fails without a bug (%v):\n%.6000s", b.found.run, err, printed)
			}
		})
	}
}
