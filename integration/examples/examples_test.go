// Package examples tests that the files of examples/ work.
package examples

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/tidegate/tidegate/integration/tidegatetest"
)

func TestMain(m *testing.M) { os.Exit(tidegatetest.Main(m)) }

// tested lists the examples that are programs, and the test of each.
var tested = map[string]string{"batch.py": "TestPython", "batch.sh": "TestBatchScript", "chat.sh": "TestChatScript"}

// Every example is tested, and named in the folder's README.
func TestAllExamplesAreTested(t *testing.T) {
	readme, err := os.ReadFile(example(t, "README.md"))
	if err != nil {
		t.Fatal(err)
	}
	entries, err := os.ReadDir(example(t, ""))
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		name := e.Name()
		if name == "README.md" {
			continue
		}
		if !strings.Contains(string(readme), "("+name+")") {
			t.Errorf("examples/README.md has no link to %s", name)
		}
		if tested[name] == "" && filepath.Ext(name) != ".Caddyfile" {
			t.Errorf("examples/%s has no test", name)
		}
	}
}

func TestCaddyfiles(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob(example(t, "*.Caddyfile"))
	if err != nil {
		t.Fatal(err)
	}
	if len(files) < 4 {
		t.Fatalf("got %d Caddyfiles, want at least 4", len(files))
	}
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			t.Parallel()
			// No file may be written to the source folder.
			run(t, t.TempDir(), []string{
				"TIDEGATE_API_KEY=secret", "DATABASE_URL=postgres://tidegate@127.0.0.1/tidegate", "REDIS_URL=redis://127.0.0.1",
				"XDG_DATA_HOME=" + t.TempDir(), "XDG_CONFIG_HOME=" + t.TempDir(),
			}, tidegatetest.Binary(t), "validate", "--config", file)
			formatted := run(t, "", nil, tidegatetest.Binary(t), "fmt", file)
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if formatted != string(text) {
				t.Errorf("%s is not formatted: run tidegate fmt --overwrite", file)
			}
		})
	}
}

func TestPython(t *testing.T) {
	t.Parallel()
	g := gateway(t)
	python := filepath.Join(tidegatetest.Root(t), ".cache", "python", "bin", "python")
	printed := run(t, "", []string{"OPENAI_BASE_URL=" + g.URL + "/v1", "OPENAI_API_KEY=secret"}, python, example(t, "batch.py"))
	for _, want := range []string{"q1 ", "Why do tides change?", "q2 ", "What is a neap tide?"} {
		if !strings.Contains(printed, want) {
			t.Errorf("batch.py printed %q, want it to contain %q", printed, want)
		}
	}
}

func TestChatScript(t *testing.T) {
	t.Parallel()
	g := gateway(t)
	printed := run(t, "", []string{"OPENAI_BASE_URL=" + g.URL + "/v1", "OPENAI_API_KEY=secret"}, example(t, "chat.sh"), tidegatetest.Model, "Why do tides change?")
	if !strings.Contains(printed, `"chat.completion.chunk"`) || !strings.Contains(printed, "data: [DONE]") {
		t.Errorf("chat.sh printed %q, want a stream of chunks that ends with data: [DONE]", printed)
	}
}

func TestBatchScript(t *testing.T) {
	t.Parallel()
	g, dir := gateway(t), t.TempDir()
	if err := os.Symlink(tidegatetest.Binary(t), filepath.Join(dir, "tidegate")); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "requests.jsonl"), tidegatetest.BatchInput(t, 3, nil), 0o600); err != nil {
		t.Fatal(err)
	}
	run(t, dir, []string{
		"TIDEGATE_SERVER=" + g.URL, "TIDEGATE_API_KEY=secret", "PATH=" + dir + string(os.PathListSeparator) + os.Getenv("PATH"),
	}, example(t, "batch.sh"), "requests.jsonl", "results.jsonl")
	results, err := os.ReadFile(filepath.Join(dir, "results.jsonl"))
	if err != nil {
		t.Fatal(err)
	}
	if got := strings.Count(string(results), "\n"); got != 3 {
		t.Errorf("batch.sh wrote %d results, want 3", got)
	}
}

func gateway(t *testing.T) *tidegatetest.Gateway {
	t.Helper()
	return tidegatetest.Serve(t, tidegatetest.ServeConfig{Sims: tidegatetest.StartSims(t, 1), APIKey: "secret"})
}

// example returns the path of a file of examples/.
func example(t *testing.T, name string) string {
	t.Helper()
	return filepath.Join(tidegatetest.Root(t), "examples", name)
}

// run runs a command and returns its standard output.
func run(t *testing.T, dir string, env []string, name string, args ...string) string {
	t.Helper()
	command := exec.CommandContext(t.Context(), name, args...)
	command.Dir = dir
	command.Env = slices.Concat(os.Environ(), env)
	var stderr strings.Builder
	command.Stderr = &stderr
	out, err := command.Output()
	if err != nil {
		t.Fatalf("%s %s: %v\n%s%s", name, strings.Join(args, " "), err, out, stderr.String())
	}
	return string(out)
}
