package images

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/tidegate/tidegate/integration/tidegatetest"
)

// The pages about deployment name variables, files and services that there are.
func TestGuides(t *testing.T) {
	known := read(t, ".env.example") + read(t, "Caddyfile")
	commands := read(t, "docs/commands.md") + read(t, "docs/configuration.md") + read(t, "docs/api.md")
	for _, page := range []string{"docs/deployment.md", "docs/migrate-from-nginx-and-besh.md"} {
		text := read(t, page)
		for _, name := range regexp.MustCompile(`\b(TIDEGATE|VLLM|REMOTE_CLUSTER_HOST|COMPOSE)_[A-Z_]+\b`).FindAllString(text, -1) {
			if client := name == "TIDEGATE_API_KEY" || name == "TIDEGATE_SERVER" || name == "COMPOSE_PROJECT_NAME"; !client && !strings.Contains(known, name) {
				t.Errorf("%s: there is no variable %s", page, name)
			}
		}
		for _, name := range regexp.MustCompile(`\bdeploy/[a-zA-Z0-9.-]+\b`).FindAllString(text, -1) {
			if _, err := os.Stat(filepath.Join(tidegatetest.Root(t), name)); err != nil {
				t.Errorf("%s: %v", page, err)
			}
		}
		for _, command := range regexp.MustCompile("`tidegate ((?:batch|files) [a-z]+|[a-z]+)").FindAllStringSubmatch(text, -1) {
			if name, _, _ := strings.Cut(command[1], " "); name != "run" && !strings.Contains(commands, name) {
				t.Errorf("%s: there is no command %s", page, command[1])
			}
		}
		for _, path := range regexp.MustCompile("`((?:GET |POST |DELETE )?/v1/[a-z/_{}]+)`").FindAllStringSubmatch(text, -1) {
			if !strings.Contains(commands, strings.TrimSuffix(path[1], "/")) {
				t.Errorf("%s: the API has no %s", page, path[1])
			}
		}
	}
	p := load(t, "gpu")
	guide := read(t, "docs/migrate-from-nginx-and-besh.md")
	for name := range p.Services {
		if !strings.Contains(guide, name) {
			t.Errorf("the guide does not name the service %s", name)
		}
	}
	for _, was := range []string{"API_KEY", "BASIC_AUTH_USERNAME", "BASIC_AUTH_PASSWORD", "OPENAI_API_BASE", "OPENAI_API_KEY", "MODEL_NAME", "HUGGING_FACE_HUB_TOKEN", "UPLOAD_FOLDER", "REDIS_URL", "SQLALCHEMY_DATABASE_URI", "MAX_WORKERS", "MAX_CONCURRENT_BATCHES", "NGINX_CONF", "TEST_API_KEY", "least_conn", "max_fails", "docker-compose-multi-gpu.yml"} {
		if !strings.Contains(guide, "`"+was) {
			t.Errorf("the guide does not mention %s", was)
		}
	}
}

// Each .env of the guide is one that Compose and the gateway take: every variable is
// one of .env.example, the file is the one that the text speaks of, and the gateways
// have keys, their number and all servers.
func TestExamplesOfTheGuide(t *testing.T) {
	known := read(t, ".env.example")
	examples := regexp.MustCompile("(?s)cat > .env <<EOF\n(.*?)EOF\n").FindAllStringSubmatch(read(t, "docs/migrate-from-nginx-and-besh.md"), -1)
	servers := map[string]int{"docker-compose.yml": 1, "deploy/compose.8gpu.yml": 8, "deploy/compose.24gpu.yml": 24, "deploy/compose.gpus-only.yml": 0}
	for _, example := range examples {
		set, lines := map[string]string{"COMPOSE_FILE": "docker-compose.yml", "TIDEGATE_GATEWAYS": "1"}, strings.Split(strings.TrimSpace(example[1]), "\n")
		for _, line := range lines {
			name, value, _ := strings.Cut(line, "=")
			if set[name] = value; !strings.Contains(known, "\n"+name+"=") {
				t.Errorf("there is no variable %s", name)
			}
		}
		file := set["COMPOSE_FILE"]
		want, ok := servers[file]
		if !ok {
			t.Fatalf("an example is for %q", file)
		}
		delete(servers, file)
		p := checkout(t, lines...)
		for name, s := range p.Services {
			if strings.HasPrefix(name, "vllm") && (s.Command[0] != set["VLLM_MODEL"] || *s.Environment["VLLM_API_KEY"] != set["TIDEGATE_UPSTREAM_API_KEY"]) {
				t.Errorf("%s: %s runs %v with the key %q", file, name, s.Command, *s.Environment["VLLM_API_KEY"])
			}
		}
		if want == 0 {
			continue
		}
		gateway := p.Services["gateway"]
		if got := upstreamURLs(t, gateway); len(got) != want {
			t.Errorf("%s: gateways ask %v, want %d servers", file, got, want)
		}
		if got := fmt.Sprint(gateway.GetScale()); got != set["TIDEGATE_GATEWAYS"] || *gateway.Environment["TIDEGATE_API_KEYS"] != "secret" {
			t.Errorf("%s: %s gateways with %v", file, got, gateway.Environment)
		}
		if got := p.Services["front"].Ports[0]; got.HostIP+":"+got.Published != set["TIDEGATE_PORT"] {
			t.Errorf("%s: the front publishes %+v, want %s", file, got, set["TIDEGATE_PORT"])
		}
		if got := *p.Services["postgres"].Environment["POSTGRES_PASSWORD"]; got != set["POSTGRES_PASSWORD"] {
			t.Errorf("%s: the password of the database is %q", file, got)
		}
	}
	if len(servers) > 0 {
		t.Errorf("there is no example for %v", servers)
	}
}
