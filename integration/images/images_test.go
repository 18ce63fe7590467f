// Package images tests what Dockerfile and compose file promise, without an
// engine that could build or run them: the program is built as xcaddy builds it,
// and every variable, path, port and command in the files is held against it.
package images

import (
	"fmt"
	"maps"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/tidegate/tidegate/integration/tidegatetest"
)

func read(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(tidegatetest.Root(t), name))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func run(t *testing.T, dir, name string, args ...string) string {
	t.Helper()
	command := exec.CommandContext(t.Context(), name, args...)
	command.Dir = dir
	command.Env = append(os.Environ(), "GOFLAGS=-mod=mod", "GOWORK=off")
	printed, err := command.CombinedOutput()
	if err != nil {
		t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, printed)
	}
	return string(printed)
}

// A fresh module that imports this one by its root, as xcaddy makes it.
func TestBuildAsXcaddyDoes(t *testing.T) {
	root := tidegatetest.Root(t)
	dir := t.TempDir()
	version := regexp.MustCompile(`ARG CADDY_VERSION=(\S+)`).FindStringSubmatch(read(t, "xcaddy.Dockerfile"))
	if version == nil {
		t.Fatal("no CADDY_VERSION in the Dockerfile")
	}
	if !strings.Contains(read(t, "go.mod"), "github.com/caddyserver/caddy/v2 v"+version[1]+"\n") {
		t.Errorf("the Dockerfile builds Caddy %s, and go.mod has another", version[1])
	}
	main := `package main

import (
	caddycmd "github.com/caddyserver/caddy/v2/cmd"

	_ "github.com/caddyserver/caddy/v2/modules/standard"
	_ "github.com/tidegate/tidegate"
)

func main() { caddycmd.Main() }
`
	if err := os.WriteFile(filepath.Join(dir, "main.go"), []byte(main), 0o600); err != nil {
		t.Fatal(err)
	}
	run(t, dir, "go", "mod", "init", "caddy")
	// xcaddy asks for the module's latest version, which a replacement answers;
	// naming one spares a question to the proxy.
	run(t, dir, "go", "mod", "edit", "-replace", "github.com/tidegate/tidegate="+root, "-require", "github.com/tidegate/tidegate@v0.0.0")
	run(t, dir, "go", "get", "github.com/caddyserver/caddy/v2@v"+version[1])
	run(t, dir, "go", "mod", "tidy")
	binary := filepath.Join(dir, "tidegate")
	// Without xcaddy's -trimpath and -w -s, which change nothing that is tested
	// and would compile all of Caddy anew.
	run(t, dir, "go", "build", "-o", binary, ".")

	modules := run(t, dir, binary, "list-modules")
	for _, id := range []string{"tidegate", "http.handlers.tidegate_api", "http.handlers.tidegate_dashboard", "http.handlers.tidegate_proxy", "admin.api.tidegate", "tidegate.stores.postgres", "tidegate.stores.sqlite", "tidegate.queues.redis", "tidegate.files.local"} {
		if !slices.Contains(strings.Fields(modules), id) {
			t.Errorf("no module %s", id)
		}
	}
	sim := tidegatetest.StartSim(t)
	g := tidegatetest.Serve(t, tidegatetest.ServeConfig{Binary: binary, Sims: []*tidegatetest.Sim{sim}})
	input := tidegatetest.BatchInput(t, 10, nil)
	b := g.WaitEnd(t, g.Submit(t, input).ID, time.Minute)
	g.Results(t, b, input)
}

// compose is what the tests look at of docker-compose.yml.
type compose struct {
	Services map[string]struct {
		Profiles    []string
		Environment map[string]string
		Command     []string
		Ports       []string
		Volumes     []string
		DependsOn   map[string]struct{ Condition string } `yaml:"depends_on"`
		Healthcheck struct{ Test []string }
	}
	Volumes map[string]any
}

func readCompose(t *testing.T) compose {
	t.Helper()
	var c compose
	if err := yaml.Unmarshal([]byte(read(t, "docker-compose.yml")), &c); err != nil {
		t.Fatal(err)
	}
	return c
}

var variable = regexp.MustCompile(`\$\{([A-Z_]+)(?::-([^}]*))?\}`)

// .env.example has every variable of the compose file with its default, and no
// other.
func TestEnvExample(t *testing.T) {
	used := map[string]string{"COMPOSE_PROFILES": "sim"}
	for _, v := range variable.FindAllStringSubmatch(read(t, "docker-compose.yml"), -1) {
		if before, again := used[v[1]]; again && before != v[2] {
			t.Errorf("%s has the defaults %q and %q", v[1], before, v[2])
		}
		used[v[1]] = v[2]
	}
	example := map[string]string{}
	for line := range strings.Lines(read(t, ".env.example")) {
		if name, value, ok := strings.Cut(strings.TrimSpace(line), "="); ok && !strings.HasPrefix(name, "#") {
			example[name] = value
		}
	}
	if !maps.Equal(used, example) {
		t.Errorf("the compose file has %v\n.env.example has %v", used, example)
	}
	profiles := map[string]bool{}
	for _, s := range readCompose(t).Services {
		for _, p := range s.Profiles {
			profiles[p] = true
		}
	}
	if !profiles["sim"] || !profiles["gpu"] || len(profiles) != 2 {
		t.Errorf("profiles %v", profiles)
	}
}

// expand puts defaults into a text of the compose file.
func expand(text string) string {
	return variable.ReplaceAllStringFunc(text, func(v string) string { return variable.FindStringSubmatch(v)[2] })
}

// What the images set is what the Caddyfile reads, and with all of it the
// Caddyfile is valid and listens where the port is published.
func TestGatewayOfTheImage(t *testing.T) {
	dockerfile, caddyfile := read(t, "xcaddy.Dockerfile"), read(t, "Caddyfile")
	c := readCompose(t)
	gateway, ok := c.Services["gateway"]
	if !ok {
		t.Fatal("no gateway")
	}
	env := map[string]string{}
	for _, v := range regexp.MustCompile(`(TIDEGATE_[A-Z_]+)=(\S+)`).FindAllStringSubmatch(dockerfile, -1) {
		env[v[1]] = v[2]
	}
	for name, value := range gateway.Environment {
		env[name] = expand(value)
	}
	for name := range env {
		if !strings.Contains(caddyfile, "{$"+name+":") && !strings.Contains(caddyfile, "{$"+name+"}") {
			t.Errorf("the Caddyfile does not read %s", name)
		}
	}
	command := exec.CommandContext(t.Context(), tidegatetest.Binary(t), "validate", "--config", filepath.Join(tidegatetest.Root(t), "Caddyfile"))
	adapt := exec.CommandContext(t.Context(), tidegatetest.Binary(t), "adapt", "--config", filepath.Join(tidegatetest.Root(t), "Caddyfile"))
	for _, c := range []*exec.Cmd{command, adapt} {
		c.Env = append(os.Environ(), "HOME="+t.TempDir())
		for name, value := range env {
			c.Env = append(c.Env, name+"="+value)
		}
	}
	if printed, err := command.CombinedOutput(); err != nil {
		t.Errorf("validating: %v\n%s", err, printed)
	}
	adapted, err := adapt.Output()
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{`"listen":["0.0.0.0:8080"]`, `"driver":"postgres"`, `"driver":"redis"`, `"driver":"local"`, `"http://sim-0:8000"`, `"http://sim-1:8000"`} {
		if !strings.Contains(string(adapted), want) {
			t.Errorf("no %s in %s", want, adapted)
		}
	}
	if !strings.Contains(dockerfile, "EXPOSE 8080\n") {
		t.Error("the Dockerfile exposes another port")
	}
	for _, port := range gateway.Ports {
		if p := expand(port); p != "127.0.0.1:8080-8083:8080" {
			t.Errorf("published: %s", p)
		}
	}
	for name, d := range gateway.DependsOn {
		if d.Condition == "service_healthy" && len(c.Services[name].Healthcheck.Test) == 0 {
			t.Errorf("%s has no health check to wait for", name)
		}
	}
	for name, s := range c.Services {
		for _, v := range s.Volumes {
			volume, _, _ := strings.Cut(v, ":")
			if _, known := c.Volumes[volume]; !known {
				t.Errorf("%s uses the volume %s, which is not declared", name, volume)
			}
		}
	}
	// A directory that is mounted belongs to the user of the image.
	directory := strings.TrimPrefix(env["TIDEGATE_FILES"], "local ")
	if !slices.Contains(gateway.Volumes, "files:"+directory) || !strings.Contains(dockerfile, "tidegate /srv/tidegate "+directory) {
		t.Errorf("files lie in %s, which is not mounted or not made", directory)
	}
}

// What the Dockerfile copies is there, and what its health check asks for is
// served.
func TestDockerfile(t *testing.T) {
	dockerfile := read(t, "xcaddy.Dockerfile")
	for _, c := range regexp.MustCompile(`(?m)^COPY (\S+) \S+$`).FindAllStringSubmatch(dockerfile, -1) {
		if _, err := os.Stat(filepath.Join(tidegatetest.Root(t), c[1])); err != nil {
			t.Error(err)
		}
	}
	for line := range strings.Lines(read(t, ".dockerignore")) {
		line = strings.TrimSpace(line)
		if strings.HasPrefix("caddymodule/", line) || line == "Caddyfile" || line == "go.mod" {
			t.Errorf("%s is left out of the image", line)
		}
	}
	health := regexp.MustCompile(`CMD wget \S+ -O /dev/null http://127\.0\.0\.1:8080(\S+)`).FindStringSubmatch(dockerfile)
	if health == nil {
		t.Fatal("no health check")
	}
	if !regexp.MustCompile(`(?m)^USER tidegate$`).MatchString(dockerfile) {
		t.Error("it runs as root")
	}
	sim := tidegatetest.StartSim(t)
	g := tidegatetest.Serve(t, tidegatetest.ServeConfig{Sims: []*tidegatetest.Sim{sim}})
	if status, answer, err := g.Call(t.Context(), http.MethodGet, health[1], "", nil); err != nil || status != http.StatusOK {
		t.Errorf("%s: %d %s %v", health[1], status, answer, err)
	}
}

// The simulated servers of the compose file start with their command, where the
// gateway looks for them, and their health check passes.
func TestSimOfTheImage(t *testing.T) {
	c := readCompose(t)
	for _, name := range []string{"sim-0", "sim-1"} {
		s, ok := c.Services[name]
		if !ok || !slices.Equal(s.Profiles, []string{"sim"}) || len(s.Command) == 0 || s.Command[0] != "sim" {
			t.Fatalf("%s: %+v", name, s)
		}
		args := slices.Clone(s.Command[1:])
		listen := slices.Index(args, "--listen") + 1
		if args[listen] != "0.0.0.0:8000" {
			t.Errorf("%s listens on %s", name, args[listen])
		}
		for i := range args {
			args[i] = expand(args[i])
		}
		if health := strings.Join(s.Healthcheck.Test, " "); !strings.HasSuffix(health, "http://127.0.0.1:8000/health") {
			t.Errorf("%s is asked at %s", name, health)
		}
		args = slices.Delete(args, listen-1, listen+1) // StartSim gives a free one
		sim := tidegatetest.StartSim(t, args...)
		answer, err := http.Get(sim.URL + "/health")
		if err != nil || answer.Body.Close() != nil || answer.StatusCode != http.StatusOK {
			t.Errorf("%s: %v %v", name, answer, err)
		}
	}
	vllm := c.Services["vllm"]
	if !slices.Equal(vllm.Profiles, []string{"gpu"}) || !slices.Contains(vllm.Command, "--model") {
		t.Errorf("vllm: %+v", vllm)
	}
	if text := fmt.Sprint(vllm.Command); !strings.Contains(text, "${VLLM_MODEL:-") {
		t.Error("the model of vLLM cannot be chosen")
	}
}
