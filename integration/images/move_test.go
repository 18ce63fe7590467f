package images

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/compose-spec/compose-go/v2/cli"
	"github.com/compose-spec/compose-go/v2/types"

	"github.com/tidegate/tidegate/integration/tidegatetest"
)

// checkout loads the project as `docker compose` does in a checkout whose directory
// has a name of its own and whose .env has the given lines.
func checkout(t *testing.T, env ...string) *types.Project {
	t.Helper()
	root, dir := tidegatetest.Root(t), filepath.Join(t.TempDir(), "checkout-of-monday")
	if err := os.CopyFS(filepath.Join(dir, "deploy"), os.DirFS(filepath.Join(root, "deploy"))); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "docker-compose.yml"), []byte(read(t, "docker-compose.yml")), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, ".env"), []byte(strings.Join(env, "\n")+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	var project *types.Project
	loaded := t.Run("load", func(t *testing.T) {
		t.Chdir(dir) // until the end of this function
		// The order of docker/compose, cmd/compose/compose.go.
		options, err := cli.NewProjectOptions(nil,
			cli.WithEnvFiles(), cli.WithDotEnv,
			cli.WithConfigFileEnv, cli.WithDefaultConfigPath, cli.WithDefaultProfiles())
		if err != nil {
			t.Fatal(err)
		}
		project, err = options.LoadProject(t.Context())
		if err != nil {
			t.Fatal(err)
		}
	})
	if !loaded {
		t.FailNow()
	}
	return project
}

// An installation keeps its database, files and queue when it moves from one compose
// file to another, with any name of the checkout's directory.
func TestMoveBetweenFiles(t *testing.T) {
	for _, file := range []string{"docker-compose.yml", "deploy/compose.8gpu.yml", "deploy/compose.24gpu.yml"} {
		for _, selected := range []string{"COMPOSE_FILE=" + file, ""} {
			if selected == "" && file != "docker-compose.yml" {
				continue // without COMPOSE_FILE it is docker-compose.yml
			}
			p := checkout(t, append(remotes, selected)...)
			if p.Name != "tidegate" {
				t.Errorf("%s with %q: the project is %q, want tidegate", file, selected, p.Name)
			}
			for _, volume := range []string{"files", "front", "models", "postgres", "valkey"} {
				if got, want := p.Volumes[volume].Name, "tidegate_"+volume; got != want {
					t.Errorf("%s with %q: the volume %s is %q, want %q", file, selected, volume, got, want)
				}
			}
		}
	}
}

// Files that must not touch an installation on the same machine have projects of
// their own.
func TestProjectsOfTheirOwn(t *testing.T) {
	for file, want := range map[string]string{"deploy/compose.gpus-only.yml": "tidegate-gpus", "deploy/compose.test.yml": "tidegate-test"} {
		p := checkout(t, "COMPOSE_FILE="+file, "TEST_API_BASE=https://api.example.com")
		if p.Name != want {
			t.Errorf("%s: the project is %q, want %q", file, p.Name, want)
		}
		if len(p.Volumes) > 0 && file == "deploy/compose.test.yml" {
			t.Errorf("%s keeps %v", file, p.VolumeNames())
		}
	}
}

// The numbers of gateways and workers come from .env in every file, so that the next
// `docker compose up -d` keeps them, and there is one of each variable's default.
func TestNumbersLast(t *testing.T) {
	for _, file := range []string{"docker-compose.yml", "deploy/compose.8gpu.yml", "deploy/compose.24gpu.yml"} {
		for _, c := range []struct {
			env              []string
			gateways, worker int
			role             string
		}{
			{nil, 1, 0, "all"},
			{[]string{"TIDEGATE_GATEWAYS=12"}, 12, 0, "all"},
			{[]string{"TIDEGATE_GATEWAYS=3", "TIDEGATE_WORKERS=4", "TIDEGATE_ROLE=serve"}, 3, 4, "serve"},
		} {
			p := checkout(t, append(append([]string{"COMPOSE_FILE=" + file}, remotes...), c.env...)...)
			gateway, worker := p.Services["gateway"], p.Services["worker"]
			if gateway.GetScale() != c.gateways || worker.GetScale() != c.worker {
				t.Errorf("%s with %v: %d gateways and %d workers, want %d and %d", file, c.env, gateway.GetScale(), worker.GetScale(), c.gateways, c.worker)
			}
			if got := *gateway.Environment["TIDEGATE_ROLE"]; got != c.role || *worker.Environment["TIDEGATE_ROLE"] != "work" {
				t.Errorf("%s with %v: gateways have the role %q, want %q; workers %q, want work", file, c.env, got, c.role, *worker.Environment["TIDEGATE_ROLE"])
			}
		}
	}
}

// What is written for operators to type lasts: a number or a role that stands only in
// one command is gone at the next `docker compose up -d`.
func TestTypedCommandsLast(t *testing.T) {
	for _, page := range []string{
		"README.md", "docker-compose.yml", "deploy/compose.8gpu.yml", "deploy/compose.24gpu.yml", "deploy/compose.gpus-only.yml",
		"docs/deployment.md", "docs/operations.md", "docs/migrate-from-nginx-and-besh.md",
	} {
		for line := range strings.Lines(read(t, page)) {
			if strings.HasPrefix(line, "BESH:") { // the old system's command
				continue
			}
			if regexp.MustCompile(`docker compose [^|]*up [^|]*--scale|(TIDEGATE|VLLM)_[A-Z_]+=\S* docker compose|docker compose --profile`).MatchString(line) {
				t.Errorf("%s: the next `docker compose up -d` undoes this: %s", page, line)
			}
		}
	}
}
