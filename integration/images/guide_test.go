package images

import (
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
			t.Errorf("the guide does not say what becomes of %s", was)
		}
	}
}
