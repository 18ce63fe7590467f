package images

import (
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tidegate/tidegate/integration/tidegatetest"
)

const module = "github.com/tidegate/tidegate"

// ignored reports which files .dockerignore excludes. It supports the forms
// NAME and **/GLOB (https://docs.docker.com/build/concepts/context/#dockerignore-files).
func ignored(t *testing.T) func(name string) bool {
	t.Helper()
	patterns := strings.Fields(read(t, ".dockerignore"))
	for _, p := range patterns {
		if strings.ContainsAny(strings.TrimPrefix(p, "**/"), "/!#") {
			t.Fatalf(".dockerignore has %s, a form that this test does not know", p)
		}
	}
	return func(name string) bool {
		return slices.ContainsFunc(patterns, func(p string) bool {
			subject := name
			if anywhere, ok := strings.CutPrefix(p, "**/"); ok {
				p, subject = anywhere, path.Base(name)
			}
			matched, err := path.Match(p, subject)
			return err == nil && matched
		})
	}
}

// buildContext copies the files of `COPY . .`.
func buildContext(t *testing.T) string {
	t.Helper()
	root, to, out := tidegatetest.Root(t), t.TempDir(), ignored(t)
	err := filepath.WalkDir(root, func(from string, entry fs.DirEntry, err error) error {
		name, errName := filepath.Rel(root, from)
		if err := errors.Join(err, errName); err != nil || name == "." {
			return err
		}
		switch {
		case out(name) && entry.IsDir():
			return fs.SkipDir
		case out(name):
			return nil
		case entry.IsDir():
			return os.Mkdir(filepath.Join(to, name), 0o755)
		}
		content, err := os.ReadFile(from)
		if err != nil {
			return err
		}
		return os.WriteFile(filepath.Join(to, name), content, 0o644)
	})
	if err != nil {
		t.Fatalf("copying the build context: %v", err)
	}
	return to
}

// run runs a command as in the image's build, which has no C compiler.
func run(t *testing.T, dir, name string, args ...string) string {
	t.Helper()
	command := exec.CommandContext(t.Context(), name, args...)
	command.Dir = dir
	command.Env = append(os.Environ(), "GOFLAGS=-mod=mod", "GOWORK=off", "CGO_ENABLED=0")
	printed, err := command.CombinedOutput()
	if err != nil {
		t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, printed)
	}
	return string(printed)
}

// built builds the image's program: a fresh module that imports this one by its
// root, by the steps and with the flags of xcaddy
// (https://github.com/caddyserver/xcaddy/blob/v0.4.5/builder.go).
func built(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	main := fmt.Sprintf(`package main

import (
	caddycmd "github.com/caddyserver/caddy/v2/cmd"

	_ "github.com/caddyserver/caddy/v2/modules/standard"
	_ %q
)

func main() { caddycmd.Main() }
`, module)
	if err := os.WriteFile(filepath.Join(dir, "main.go"), []byte(main), 0o600); err != nil {
		t.Fatal(err)
	}
	run(t, dir, "go", "mod", "init", "caddy")
	// xcaddy requests the module's newest version, which the replacement provides;
	// the explicit version avoids a request to the proxy.
	run(t, dir, "go", "mod", "edit", "-replace", module+"="+buildContext(t), "-require", module+"@v0.0.0")
	run(t, dir, "go", "get", "github.com/caddyserver/caddy/v2@v"+caddyVersion(t))
	run(t, dir, "go", "get")
	run(t, dir, "go", "mod", "tidy", "-e")
	binary := filepath.Join(dir, "tidegate")
	run(t, dir, "go", slices.Concat([]string{"build", "-o", binary}, buildFlags(t, testVersion))...)
	return binary
}

// testVersion is the version that the image is built with.
const testVersion = "v1.2.3-test"

// buildFlags returns the flags with which the Dockerfile builds a version.
func buildFlags(t *testing.T, version string) []string {
	t.Helper()
	found := regexp.MustCompile(`XCADDY_GO_BUILD_FLAGS="-ldflags '([^']*)' ([^"']*)"`).FindStringSubmatch(read(t, "xcaddy.Dockerfile"))
	if found == nil {
		t.Fatal("the Dockerfile has no XCADDY_GO_BUILD_FLAGS with -ldflags")
	}
	return append([]string{"-ldflags", strings.ReplaceAll(found[1], "${TIDEGATE_VERSION}", version)}, strings.Fields(found[2])...)
}

// caddyVersion returns the version in the Dockerfile, without v.
func caddyVersion(t *testing.T) string {
	t.Helper()
	version := regexp.MustCompile(`(?m)^ARG CADDY_VERSION=(\S+)$`).FindStringSubmatch(read(t, "xcaddy.Dockerfile"))
	if version == nil {
		t.Fatal("no CADDY_VERSION in the Dockerfile")
	}
	return version[1]
}

// The image's program does all that the image is for: it has every module, and
// gateways with the files' commands and environment, four as with --scale, do a
// batch together on PostgreSQL, Redis, one directory and the simulated server.
func TestUp(t *testing.T) {
	if version := caddyVersion(t); !strings.Contains(read(t, "go.mod"), "github.com/caddyserver/caddy/v2 v"+version+"\n") {
		t.Errorf("the Dockerfile builds Caddy %s, and go.mod has another", version)
	}
	binary := built(t)
	modules := strings.Fields(run(t, t.TempDir(), binary, "list-modules"))
	for _, id := range []string{"tidegate", "http.handlers.tidegate_api", "http.handlers.tidegate_dashboard", "http.handlers.tidegate_proxy", "http.authentication.providers.tidegate_key", "admin.api.tidegate", "tidegate.stores.postgres", "tidegate.stores.sqlite", "tidegate.queues.redis", "tidegate.queues.memory", "tidegate.files.local", "tidegate.files.s3", "tidegate.balancers.least_work", "tidegate.balancers.least_load", "tidegate.balancers.round_robin", "tidegate.balancers.prefix_hash", "tidegate.balancers.session"} {
		if !slices.Contains(modules, id) {
			t.Errorf("no module %s", id)
		}
	}
	h := newHost(t, binary)
	sim := h.start(t, "sim")
	gateways := make([]*tidegatetest.Gateway, 4)
	for i := range gateways {
		gateways[i] = h.start(t, "gateway")
	}
	if _, metrics, err := gateways[0].Call(t.Context(), http.MethodGet, "/metrics", "", nil); err != nil || !strings.Contains(string(metrics), `version="`+testVersion+`"`) {
		t.Errorf("the metrics do not have the version %s that the image was built with (%v)", testVersion, err)
	}
	input := tidegatetest.BatchInput(t, 40, nil)
	id := gateways[0].Submit(t, input).ID
	b := gateways[1].WaitEnd(t, id, time.Minute)
	for _, g := range gateways {
		g.Results(t, b, input)
	}
	if b.Status != "completed" || b.RequestCounts.Completed != 40 {
		t.Errorf("the batch ended as %+v", b)
	}
	if keys, err := h.redis.Do("PUBSUB", "CHANNELS"); err != nil || len(keys.([]any)) == 0 {
		t.Errorf("no gateway listens on the queue's server: %v %v", keys, err)
	}
	sim.Stop(t)
}
