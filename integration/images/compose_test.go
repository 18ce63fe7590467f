package images

import (
	"maps"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/compose-spec/compose-go/v2/cli"
	"github.com/compose-spec/compose-go/v2/types"

	"github.com/tidegate/tidegate/integration/tidegatetest"
)

// load reads the compose file with Compose's library, which validates every key, with
// profiles and without variables.
func load(t *testing.T, profiles ...string) *types.Project {
	t.Helper()
	return loadWith(t, cli.WithProfiles(profiles))
}

func loadWith(t *testing.T, more ...cli.ProjectOptionsFn) *types.Project {
	t.Helper()
	root := tidegatetest.Root(t)
	return loadFile(t, filepath.Join(root, "docker-compose.yml"), append([]cli.ProjectOptionsFn{cli.WithWorkingDirectory(root), cli.WithName("tidegate")}, more...)...)
}

func loadFile(t *testing.T, file string, more ...cli.ProjectOptionsFn) *types.Project {
	t.Helper()
	options, err := cli.NewProjectOptions([]string{file}, more...)
	if err != nil {
		t.Fatal(err)
	}
	project, err := options.LoadProject(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return project
}

// TestProfiles checks that each profile has one server with the name that gateways use, and
// that Compose refuses to start both.
func TestProfiles(t *testing.T) {
	always := []string{"front", "gateway", "postgres", "valkey", "worker"}
	for profile, servers := range map[string][]string{"sim": {"sim"}, "gpu": {"vllm", "model"}} {
		p, server := load(t, profile), servers[0]
		if names := slices.Sorted(maps.Keys(p.Services)); !slices.Equal(names, slices.Sorted(slices.Values(append(slices.Clone(always), servers...)))) {
			t.Errorf("the profile %s has %v", profile, names)
		}
		if err := p.CheckContainerNameUnicity(); err != nil {
			t.Error(err)
		}
		upstream := *p.Services["gateway"].Environment["TIDEGATE_UPSTREAMS"]
		if aliases := p.Services[server].Networks["default"].Aliases; len(aliases) != 1 || upstream != "http://"+aliases[0]+":8000" {
			t.Errorf("gateways ask %s, and %s is called %v", upstream, server, aliases)
		}
	}
	if names := slices.Sorted(maps.Keys(load(t).Services)); !slices.Equal(names, always) {
		t.Errorf("without a profile there are %v", names)
	}
	if err := load(t, "sim", "gpu").CheckContainerNameUnicity(); err == nil {
		t.Error("both profiles start at once")
	}
	if p := loadWith(t, cli.WithEnvFiles(filepath.Join(tidegatetest.Root(t), ".env.example")), cli.WithDotEnv, cli.WithDefaultProfiles()); !slices.Equal(p.Profiles, []string{"sim"}) {
		t.Errorf("with .env.example the profiles are %v", p.Profiles)
	}
	if p := loadWith(t, cli.WithEnvFiles(filepath.Join(tidegatetest.Root(t), ".env.example")), cli.WithDotEnv, cli.WithDefaultProfiles("gpu")); !slices.Equal(p.Profiles, []string{"gpu"}) {
		t.Errorf("with --profile gpu the profiles are %v", p.Profiles)
	}
}

// The front's port is the only one that is published, on loopback, and gateways can
// be scaled behind it.
func TestPorts(t *testing.T) {
	for name, s := range load(t, "sim", "gpu").Services {
		if name == "front" {
			if len(s.Ports) != 1 || s.Ports[0].HostIP != "127.0.0.1" || s.Ports[0].Published != "8080" || s.Ports[0].Target != 8080 {
				t.Errorf("the front publishes %+v", s.Ports)
			}
		} else if len(s.Ports) > 0 {
			t.Errorf("%s publishes %v", name, s.Ports)
		}
		if (name == "gateway" || name == "worker") && s.ContainerName != "" {
			t.Errorf("%s cannot be scaled, as all are called %s", name, s.ContainerName)
		}
	}
	if !strings.Contains(read(t, "xcaddy.Dockerfile"), "\nEXPOSE 8080\n") {
		t.Error("the Dockerfile exposes another port")
	}
}

// TestDependencies checks that every service restarts automatically, and that dependencies
// wait for a health check that the service has.
func TestDependencies(t *testing.T) {
	p := load(t, "sim", "gpu")
	for name, s := range p.Services {
		if want := types.RestartPolicyUnlessStopped; s.Restart != want && name != "model" {
			t.Errorf("%s restarts %q", name, s.Restart)
		}
		for other, d := range s.DependsOn {
			if other == "model" && d.Condition == types.ServiceConditionCompletedSuccessfully {
				continue
			}
			if d.Condition != types.ServiceConditionHealthy || p.Services[other].HealthCheck == nil {
				t.Errorf("%s waits for %s until it is %s", name, other, d.Condition)
			}
		}
	}
	if n := len(p.Services["gateway"].DependsOn); n != 2 {
		t.Errorf("gateways wait for %d others", n)
	}
	// Its socket answers before there is a database.
	if check := []string(p.Services["postgres"].HealthCheck.Test); !slices.Equal(check, []string{"CMD", "pg_isready", "-h", "127.0.0.1", "-U", "tidegate", "-d", "tidegate"}) {
		t.Errorf("postgres is checked by %v", check)
	}
	if check := []string(p.Services["valkey"].HealthCheck.Test); !slices.Equal(check, []string{"CMD", "valkey-cli", "ping"}) {
		t.Errorf("valkey is checked by %v", check)
	}
}

// A gateway that is stopped is not killed before it has drained: live requests
// have Caddy's grace period, and then lines their drain_timeout.
func TestGracePeriod(t *testing.T) {
	gateway := load(t).Services["gateway"]
	var both time.Duration
	for word, variable := range map[string]string{"grace_period": "TIDEGATE_GRACE", "drain_timeout": "TIDEGATE_DRAIN_TIMEOUT"} {
		found := regexp.MustCompile(`\n\t+` + word + ` \{\$` + variable + `:(\S+)\}\n`).FindStringSubmatch(read(t, "Caddyfile"))
		if found == nil {
			t.Fatalf("the Caddyfile has no %s of %s", word, variable)
		}
		d, err := time.ParseDuration(found[1])
		if err != nil {
			t.Fatal(err)
		}
		both += d
		if value := gateway.Environment[variable]; value == nil || *value != found[1] {
			t.Errorf("the gateway's %s is %v, and %s in the Caddyfile", variable, value, found[1])
		}
	}
	if stop := gateway.StopGracePeriod; stop == nil || time.Duration(*stop) <= both {
		t.Errorf("a gateway may take %s to stop, and is killed after %v", both, stop)
	}
}

// Variables set how long a container may take to stop, and what its gateway is told.
func TestGracePeriodByVariables(t *testing.T) {
	env := []string{"TIDEGATE_GRACE=2m", "TIDEGATE_DRAIN_TIMEOUT=90s", "TIDEGATE_STOP_GRACE=4m"}
	gateway := loadWith(t, cli.WithEnv(env)).Services["gateway"]
	if stop := gateway.StopGracePeriod; stop == nil || time.Duration(*stop) != 4*time.Minute {
		t.Errorf("got a stop grace period of %v, want 4m", stop)
	}
	for variable, want := range map[string]string{"TIDEGATE_GRACE": "2m", "TIDEGATE_DRAIN_TIMEOUT": "90s"} {
		if got := gateway.Environment[variable]; got == nil || *got != want {
			t.Errorf("%s: got %v, want %s", variable, got, want)
		}
	}
}

// Data outlive containers, where the images keep them and where the user of
// ours may write. All gateways have one directory for files.
func TestVolumes(t *testing.T) {
	p := load(t, "sim", "gpu")
	image := p.Services["postgres"].Image
	major, err := strconv.Atoi(regexp.MustCompile(`^postgres:(\d+)`).FindStringSubmatch(image + " postgres:0")[1])
	if err != nil {
		t.Fatal(err)
	}
	// https://github.com/docker-library/postgres/pull/1259
	database := "/var/lib/postgresql/data"
	if major >= 18 {
		database = "/var/lib/postgresql"
	}
	want := map[string]string{"front": "front:/data", "gateway": "files:/srv/tidegate/files", "worker": "files:/srv/tidegate/files", "model": "models:/root/.cache/huggingface", "postgres": "postgres:" + database, "valkey": "valkey:/data", "vllm": "models:/root/.cache/huggingface"}
	for name, s := range p.Services {
		var got string
		for _, v := range s.Volumes {
			if v.Type != types.VolumeTypeVolume {
				t.Errorf("%s mounts %+v", name, v)
			}
			got += v.Source + ":" + v.Target
		}
		if got != want[name] {
			t.Errorf("%s has the volume %q, not %q", name, got, want[name])
		}
	}
	dockerfile := read(t, "xcaddy.Dockerfile")
	made, user, declared := strings.Index(dockerfile, "install -d -o tidegate -g tidegate /srv/tidegate /srv/tidegate/files\n"), strings.Index(dockerfile, "\nUSER tidegate\n"), strings.Index(dockerfile, "\nVOLUME /srv/tidegate\n")
	if made < 0 || user < made || declared < made {
		t.Error("the directories are not made before the user and the volume")
	}
	if files := *p.Services["gateway"].Environment["TIDEGATE_FILES"]; files != "local /srv/tidegate/files" {
		t.Errorf("files lie in %q", files)
	}
}

// TestPinned checks that versions are pinned.
func TestPinned(t *testing.T) {
	for name, s := range load(t, "sim", "gpu").Services {
		if s.Build != nil {
			continue
		}
		if !regexp.MustCompile(`:v?\d+[^:]*$`).MatchString(s.Image) {
			t.Errorf("%s runs %s", name, s.Image)
		}
	}
	for _, from := range regexp.MustCompile(`(?m)^FROM (\S+)`).FindAllStringSubmatch(read(t, "xcaddy.Dockerfile"), -1) {
		if !regexp.MustCompile(`:(\d|\$\{CADDY_VERSION\}-builder$)`).MatchString(from[1]) {
			t.Errorf("the image is built from %s", from[1])
		}
	}
}

// vLLM is started as one, for the model that can be chosen, and as the gateways
// think that it is.
func TestVLLM(t *testing.T) {
	p := loadWith(t, cli.WithProfiles([]string{"gpu"}), cli.WithEnv([]string{
		"VLLM_MODEL=a/model", "TIDEGATE_MAX_NUM_SEQS=77", "VLLM_TENSOR_PARALLEL_SIZE=8", "VLLM_MAX_MODEL_LEN=32000", "TIDEGATE_SCHEDULING_POLICY=fcfs", "TIDEGATE_UPSTREAM_API_KEY=key", "HF_TOKEN=token",
	}))
	vllm, gateway := p.Services["vllm"], p.Services["gateway"]
	if got := strings.Join(vllm.Command, " "); got != "a/model --max-num-seqs=77 --max-model-len=32000 --tensor-parallel-size=8 --scheduling-policy=fcfs --enable-prefix-caching --enable-prompt-tokens-details" {
		t.Errorf("vLLM gets %s", got)
	}
	if key := *gateway.Environment["TIDEGATE_UPSTREAM_API_KEY"]; key != "key" || *vllm.Environment["VLLM_API_KEY"] != key {
		t.Errorf("gateways show the key %q, and vLLM wants %q", key, *vllm.Environment["VLLM_API_KEY"])
	}
	if n := *gateway.Environment["TIDEGATE_MAX_NUM_SEQS"]; n != "77" {
		t.Errorf("gateways give it %s requests", n)
	}
	if policy := *gateway.Environment["TIDEGATE_SCHEDULING_POLICY"]; policy != "fcfs" {
		t.Errorf("gateways take its scheduling policy for %s", policy)
	}
	if model := p.Services["model"]; *model.Environment["HF_TOKEN"] != "token" || *model.Environment["MODEL"] != "a/model" || model.Image != vllm.Image {
		t.Errorf("the model is downloaded by %s with %v", model.Image, model.Environment)
	}
	if vllm.Ipc != "host" {
		t.Errorf("vLLM shares memory with %q", vllm.Ipc)
	}
	if d := vllm.Deploy.Resources.Reservations.Devices; len(d) != 1 || d[0].Driver != "nvidia" || d[0].Count != -1 || !slices.Equal(d[0].Capabilities, []string{"gpu"}) {
		t.Errorf("vLLM has %+v", d)
	}
}
