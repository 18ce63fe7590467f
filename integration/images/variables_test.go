package images

import (
	"fmt"
	"maps"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/compose-spec/compose-go/v2/cli"
	"github.com/compose-spec/compose-go/v2/types"

	"github.com/tidegate/tidegate/integration/tidegatetest"
)

var variable = regexp.MustCompile(`\$\{([A-Z_]+)(:-([^}]*))?\}`)

// .env.example has every variable of the compose files with its default, and no
// other, so that copying it changes nothing but the profile.
func TestEnvExample(t *testing.T) {
	text := ""
	for _, name := range []string{"docker-compose.yml", "deploy/vllm.yml", "deploy/compose.8gpu.yml", "deploy/compose.24gpu.yml", "deploy/compose.gpus-only.yml", "deploy/compose.test.yml"} {
		text += read(t, name)
	}
	text = strings.ReplaceAll(text, "$$", "") // for the shell in a container
	used := map[string]string{"COMPOSE_PROFILES": "sim", "COMPOSE_FILE": "docker-compose.yml"}
	for _, host := range []string{"REMOTE_CLUSTER_HOST_A", "REMOTE_CLUSTER_HOST_B", "TEST_API_BASE"} { // which have no default
		used[host] = ""
		text = regexp.MustCompile(`\$\{`+host+`(:\?[^}]*)?\}`).ReplaceAllString(text, "")
	}
	found := variable.FindAllStringSubmatch(text, -1)
	if dollars := strings.Count(text, "$"); dollars != len(found) {
		t.Errorf("got %d of %d variables in a supported form", len(found), dollars)
	}
	for _, v := range found {
		if v[1] == "COMPOSE_PROJECT_NAME" { // Compose sets it
			continue
		}
		if before, again := used[v[1]]; v[2] == "" || again && before != v[3] {
			t.Errorf("%s has the defaults %q and %q", v[1], before, v[3])
		}
		used[v[1]] = v[3]
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
	profiles := cli.WithProfiles([]string{"sim", "gpu"})
	without, err := loadWith(t, profiles).MarshalYAML()
	if err != nil {
		t.Fatal(err)
	}
	with, err := loadWith(t, cli.WithEnvFiles(filepath.Join(tidegatetest.Root(t), ".env.example")), cli.WithDotEnv, profiles).MarshalYAML()
	if err != nil {
		t.Fatal(err)
	}
	if string(with) != string(without) {
		t.Errorf("with .env.example it is\n%s\nand without\n%s", with, without)
	}
}

// Every variable that the Caddyfile reads is set by the image or the compose
// file, and the reverse, but for the admin endpoint, which stays in the container.
// The comment at its top lists all of them.
func TestVariablesOfTheCaddyfile(t *testing.T) {
	caddyfile := read(t, "Caddyfile")
	head, body, _ := strings.Cut(caddyfile, "\n{\n")
	reads, told := map[string]bool{}, map[string]bool{}
	for _, v := range regexp.MustCompile(`\{(?:\$|env\.)([A-Z_]+)[:}]`).FindAllStringSubmatch(body, -1) {
		reads[v[1]] = true
	}
	for _, v := range regexp.MustCompile(`(?m)^#   (TIDEGATE_[A-Z_]+) `).FindAllStringSubmatch(head, -1) {
		told[v[1]] = true
	}
	sets := map[string]bool{"TIDEGATE_ADMIN": true}
	for name := range readImage(t).env {
		if !strings.HasPrefix(name, "XDG_") { // Caddy's own: where it keeps certificates
			sets[name] = true
		}
	}
	for name := range load(t).Services["gateway"].Environment {
		sets[name] = true
	}
	for what, names := range map[string]map[string]bool{"are set": sets, "are in the comment": told} {
		if !maps.Equal(names, reads) {
			t.Errorf("the Caddyfile reads\n%v\nand these %s\n%v", slices.Sorted(maps.Keys(reads)), what, slices.Sorted(maps.Keys(names)))
		}
	}
}

// The URL of the database has the account that its image makes.
func TestDatabase(t *testing.T) {
	p := loadWith(t, cli.WithEnv([]string{"POSTGRES_PASSWORD=chosen"}))
	made := p.Services["postgres"].Environment
	want := "postgres postgres://" + *made["POSTGRES_USER"] + ":" + *made["POSTGRES_PASSWORD"] + "@postgres:5432/" + *made["POSTGRES_DB"] + "?sslmode=disable&pool_max_conns=8"
	if got := *p.Services["gateway"].Environment["TIDEGATE_STORE"]; got != want || *made["POSTGRES_PASSWORD"] != "chosen" {
		t.Errorf("gateways have %s, not %s", got, want)
	}
}

// The database admits the connections of 40 gateways and of people, and both numbers
// can be set.
func TestConnectionsOfTheDatabase(t *testing.T) {
	numbers := func(p *types.Project) (database, gateway int) {
		command := strings.Join(p.Services["postgres"].Command, " ")
		if _, err := fmt.Sscanf(command, "postgres -c max_connections=%d", &database); err != nil {
			t.Fatalf("postgres runs %q: %v", command, err)
		}
		for _, name := range []string{"gateway", "worker"} {
			store := *p.Services[name].Environment["TIDEGATE_STORE"]
			_, value, _ := strings.Cut(store, "&pool_max_conns=")
			n, err := strconv.Atoi(value)
			if err != nil || gateway != 0 && n != gateway {
				t.Errorf("%s has the store %s", name, store)
			}
			gateway = n
		}
		return database, gateway
	}
	root := tidegatetest.Root(t)
	for _, file := range []string{"docker-compose.yml", "deploy/compose.8gpu.yml", "deploy/compose.24gpu.yml"} {
		hosts := cli.WithEnv([]string{"REMOTE_CLUSTER_HOST_A=a", "REMOTE_CLUSTER_HOST_B=b"})
		database, gateway := numbers(loadFile(t, filepath.Join(root, file), hosts))
		if database < 40*gateway+20 {
			t.Errorf("%s: the database admits %d connections, and a gateway opens %d", file, database, gateway)
		}
		set := cli.WithEnv([]string{"POSTGRES_MAX_CONNECTIONS=700", "POSTGRES_GATEWAY_CONNECTIONS=5"})
		if database, gateway = numbers(loadFile(t, filepath.Join(root, file), hosts, set)); database != 700 || gateway != 5 {
			t.Errorf("%s: set to 700 and 5, got %d and %d", file, database, gateway)
		}
	}
}
