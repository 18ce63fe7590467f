package images

import (
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/compose-spec/compose-go/v2/cli"
	"github.com/compose-spec/compose-go/v2/types"

	"github.com/tidegate/tidegate/integration/tidegatetest"
)

// deployed reads a file of deploy/ as `docker compose -f` does from the root.
func deployed(t *testing.T, name string, env ...string) *types.Project {
	t.Helper()
	return loadFile(t, filepath.Join(tidegatetest.Root(t), "deploy", name), cli.WithEnv(env))
}

// remotes are the machines of the test.
var remotes = []string{"REMOTE_CLUSTER_HOST_A=cluster-a", "REMOTE_CLUSTER_HOST_B=10.0.0.7"}

// upstreams returns the URLs of a service's servers, each of which has the options
// that vLLM is started with.
func upstreams(t *testing.T, s types.ServiceConfig) []string {
	t.Helper()
	cfg := adapted(t, s)
	for _, u := range cfg.Apps.Tidegate.Pool.Upstreams {
		if u.MaxNumSeqs != 256 || u.SchedulingPolicy != "priority" {
			t.Errorf("%s of %s has %+v", u.URL, s.Name, u)
		}
	}
	if want := *s.Environment["TIDEGATE_ROLE"]; cfg.Apps.Tidegate.Role != want {
		t.Errorf("%s has the role %q, want %q", s.Name, cfg.Apps.Tidegate.Role, want)
	}
	return cfg.urls()
}

func upstreamURLs(t *testing.T, s types.ServiceConfig) []string {
	t.Helper()
	cfg := adapted(t, s)
	return cfg.urls()
}

// adaptedConfig is a part of the JSON of a Caddyfile.
type adaptedConfig struct {
	Apps struct {
		Tidegate struct {
			Role string
			Pool struct {
				Upstreams []struct {
					URL              string
					MaxNumSeqs       int    `json:"max_num_seqs"`
					SchedulingPolicy string `json:"scheduling_policy"`
				}
			}
		}
	}
}

func (c *adaptedConfig) urls() (list []string) {
	for _, u := range c.Apps.Tidegate.Pool.Upstreams {
		list = append(list, u.URL)
	}
	return list
}

// adapted returns the adapted and validated JSON of the shipped Caddyfile with a service's
// environment.
func adapted(t *testing.T, s types.ServiceConfig) (cfg adaptedConfig) {
	t.Helper()
	config := filepath.Join(tidegatetest.Root(t), "Caddyfile")
	var text []byte
	for _, command := range []string{"validate", "adapt"} {
		cmd := exec.CommandContext(t.Context(), tidegatetest.Binary(t), command, "--config", config)
		cmd.Env = append(os.Environ(), "XDG_DATA_HOME="+t.TempDir(), "TIDEGATE_DATA="+t.TempDir())
		for name, value := range s.Environment {
			cmd.Env = append(cmd.Env, name+"="+*value)
		}
		var stderr strings.Builder
		cmd.Stderr = &stderr
		out, err := cmd.Output()
		if err != nil {
			t.Fatalf("%s with the environment of %s: %v\n%s", command, s.Name, err, stderr.String())
		}
		text = out
	}
	if err := json.Unmarshal(text, &cfg); err != nil {
		t.Fatal(err)
	}
	return cfg
}

// The gateways and workers of each file have an upstream for every server that
// there is, and no other: services of the file, and ports of the remote machines.
func TestUpstreams(t *testing.T) {
	var local []string
	for i := range 8 {
		local = append(local, fmt.Sprintf("http://vllm-%d:8000", i))
	}
	all := slices.Clone(local)
	for _, host := range []string{"cluster-a", "10.0.0.7"} {
		for port := 9001; port <= 9008; port++ {
			all = append(all, fmt.Sprintf("http://%s:%d", host, port))
		}
	}
	for file, want := range map[string][]string{"compose.8gpu.yml": local, "compose.24gpu.yml": all} {
		p := deployed(t, file, remotes...)
		for name, role := range map[string]string{"gateway": "all", "worker": "work"} {
			s := p.Services[name]
			if got := upstreams(t, s); !slices.Equal(got, want) {
				t.Errorf("%s: %s has %v\nwant %v", file, name, got, want)
			}
			if got := *s.Environment["TIDEGATE_ROLE"]; got != role {
				t.Errorf("%s: %s has the role %s", file, name, got)
			}
		}
		var servers []string
		for name := range p.Services {
			if strings.HasPrefix(name, "vllm") {
				servers = append(servers, "http://"+name+":8000")
			}
		}
		slices.Sort(servers)
		if !slices.Equal(servers, local) {
			t.Errorf("%s starts %v", file, servers)
		}
	}
}

// The remote machines are named, or Compose says which variable is missing.
func TestRemoteHostsAreWanted(t *testing.T) {
	root := tidegatetest.Root(t)
	for i := range remotes {
		name, _, _ := strings.Cut(remotes[i], "=")
		options, err := cli.NewProjectOptions([]string{filepath.Join(root, "deploy/compose.24gpu.yml")}, cli.WithEnv(slices.Delete(slices.Clone(remotes), i, i+1)))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := options.LoadProject(t.Context()); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("without %s: %v", name, err)
		}
	}
}

// Each server has a GPU of its own, and waits for the one download of the model.
func TestServersOfEightGPUs(t *testing.T) {
	for _, file := range []string{"compose.8gpu.yml", "compose.24gpu.yml", "compose.gpus-only.yml"} {
		p := deployed(t, file, remotes...)
		var devices []string
		for i := range 8 {
			s, err := p.GetService(fmt.Sprintf("vllm-%d", i))
			if err != nil {
				t.Fatalf("%s: %v", file, err)
			}
			d := s.Deploy.Resources.Reservations.Devices
			if len(d) != 1 || d[0].Driver != "nvidia" || len(d[0].IDs) != 1 || !slices.Equal(d[0].Capabilities, []string{"gpu"}) {
				t.Fatalf("%s: %s has %+v", file, s.Name, d)
			}
			devices = append(devices, d[0].IDs[0])
			if s.DependsOn["model"].Condition != types.ServiceConditionCompletedSuccessfully || *s.Environment["HF_HUB_OFFLINE"] != "1" {
				t.Errorf("%s: %s waits for %v and has %v", file, s.Name, s.DependsOn, s.Environment)
			}
			if len(s.Volumes) != 1 || s.Volumes[0].Source != "models" || s.Volumes[0].Target != *s.Environment["HF_HOME"] || *p.Services["model"].Environment["HF_HOME"] != *s.Environment["HF_HOME"] {
				t.Errorf("%s: %s has the model in %+v", file, s.Name, s.Volumes)
			}
		}
		if want := []string{"0", "1", "2", "3", "4", "5", "6", "7"}; !slices.Equal(devices, want) {
			t.Errorf("%s: servers have the GPUs %v", file, devices)
		}
	}
}

// A machine of GPUs alone publishes its servers on the ports that gateways
// elsewhere ask, and runs nothing else.
func TestGPUsOnly(t *testing.T) {
	p := deployed(t, "compose.gpus-only.yml")
	if len(p.Services) != 9 {
		t.Errorf("it has %v", slices.Sorted(maps.Keys(p.Services)))
	}
	for i := range 8 {
		ports := p.Services[fmt.Sprintf("vllm-%d", i)].Ports
		if len(ports) != 1 || ports[0].Published != fmt.Sprint(9001+i) || ports[0].Target != 8000 {
			t.Errorf("vllm-%d publishes %+v", i, ports)
		}
	}
	if len(p.Services["model"].Ports) > 0 {
		t.Error("the download publishes a port")
	}
	for _, file := range []string{"compose.8gpu.yml", "compose.24gpu.yml"} {
		for name, s := range deployed(t, file, remotes...).Services {
			if len(s.Ports) > 0 && name != "front" {
				t.Errorf("%s: %s publishes %+v", file, name, s.Ports)
			}
		}
	}
}

// The files of deploy/ have the services of docker-compose.yml as they are there,
// so that what holds for these holds for those.
func TestSameServices(t *testing.T) {
	base := load(t)
	for _, file := range []string{"compose.8gpu.yml", "compose.24gpu.yml"} {
		p := deployed(t, file, remotes...)
		for _, name := range []string{"front", "gateway", "worker", "postgres", "valkey"} {
			want, got := base.Services[name], p.Services[name]
			if name == "gateway" || name == "worker" {
				want.Environment = maps.Clone(want.Environment)
				want.Environment["TIDEGATE_UPSTREAMS"] = got.Environment["TIDEGATE_UPSTREAMS"]
			}
			wanted, errWant := json.Marshal(want)
			have, errHave := json.Marshal(got)
			if errWant != nil || errHave != nil || string(wanted) != string(have) {
				t.Errorf("%s: %s is\n%s\nand in docker-compose.yml\n%s (%v, %v)", file, name, have, wanted, errHave, errWant)
			}
		}
		if got := p.Configs["front"].File; got != base.Configs["front"].File {
			t.Errorf("%s: the front reads %s", file, got)
		}
	}
}

// vLLM is pinned, and every flag is one that this version has.
func TestFlagsOfVLLM(t *testing.T) {
	for _, p := range []*types.Project{load(t, "gpu"), deployed(t, "compose.8gpu.yml"), deployed(t, "compose.24gpu.yml", remotes...), deployed(t, "compose.gpus-only.yml")} {
		for name, s := range p.Services {
			if !strings.HasPrefix(name, "vllm") {
				continue
			}
			version := regexp.MustCompile(`^vllm/vllm-openai:v(\d+\.\d+)\.\d+$`).FindStringSubmatch(s.Image)
			if version == nil || !slices.Equal(s.Entrypoint, []string{"vllm", "serve"}) {
				t.Fatalf("%s runs %v of %s", name, s.Entrypoint, s.Image)
			}
			text, err := os.ReadFile("testdata/vllm-" + version[1] + "-flags.txt")
			if err != nil {
				t.Fatalf("%v: write it with `vllm serve --help=all` of %s", err, s.Image)
			}
			known := strings.Fields(string(text))
			for _, arg := range s.Command[1:] {
				if flag, _, _ := strings.Cut(arg, "="); !slices.Contains(known, flag) {
					t.Errorf("vLLM %s has no flag %s", version[1], flag)
				}
			}
			for _, want := range []string{"--enable-prompt-tokens-details", "--enable-prefix-caching", "--scheduling-policy=priority", "--max-num-seqs=256"} {
				if !slices.Contains(s.Command, want) {
					t.Errorf("%s has no %s: %v", name, want, s.Command)
				}
			}
		}
	}
}

// The model is downloaded once: a later start needs no network, and a download
// that failed is made again.
func TestDownload(t *testing.T) {
	s := load(t, "gpu").Services["model"]
	home, bin := t.TempDir(), t.TempDir()
	calls := filepath.Join(home, "calls")
	hf := "#!/bin/sh\necho \"$@\" >> " + calls + "\n[ ! -e " + home + "/broken ]\n"
	if err := os.WriteFile(filepath.Join(bin, "hf"), []byte(hf), 0o700); err != nil {
		t.Fatal(err)
	}
	download := func() error {
		argv := append(slices.Clone([]string(s.Entrypoint)), s.Command...)
		for i := range argv {
			argv[i] = strings.ReplaceAll(argv[i], "$$", "$") // as Compose does
		}
		cmd := exec.CommandContext(t.Context(), argv[0], argv[1:]...)
		cmd.Env = []string{"PATH=" + bin + ":" + os.Getenv("PATH"), "HF_HOME=" + home, "MODEL=" + *s.Environment["MODEL"]}
		return cmd.Run()
	}
	broken := filepath.Join(home, "broken")
	if err := os.WriteFile(broken, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := download(); err == nil {
		t.Error("a download that fails is taken for done")
	}
	if err := os.Remove(broken); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		if err := download(); err != nil {
			t.Fatal(err)
		}
	}
	text, err := os.ReadFile(calls)
	if err != nil {
		t.Fatal(err)
	}
	one := "download " + *s.Environment["MODEL"] + " --exclude original/*\n"
	if string(text) != one+one {
		t.Errorf("hf was called\n%swant one that fails and one that does not", text)
	}
}

// The front is Caddy as the gateways are, reads its Caddyfile, and asks the
// service and the port of the gateways.
func TestFront(t *testing.T) {
	s, p := load(t).Services["front"], load(t)
	version := caddyVersion(t)
	series := version[:strings.LastIndex(version, ".")] // Docker's image of a series is its newest release
	if want := "caddy:" + series + "-alpine"; s.Image != want {
		t.Errorf("the front runs %s, want %s", s.Image, want)
	}
	if len(s.Configs) != 1 || s.Configs[0].Source != "front" || s.Configs[0].Target != "/etc/caddy/Caddyfile" || s.Command != nil {
		t.Errorf("the front reads %+v and runs %v", s.Configs, s.Command)
	}
	file := p.Configs["front"].File
	if _, err := os.Stat(file); err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{{"validate", "--adapter", "caddyfile", "--config", file}, {"fmt", "--diff", file}} {
		cmd := exec.CommandContext(t.Context(), tidegatetest.Binary(t), args...)
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("%v: %v\n%s", args, err, out)
		}
	}
	text := read(t, "deploy/front.Caddyfile")
	check := s.HealthCheck.Test[len(s.HealthCheck.Test)-1]
	path := strings.TrimPrefix(check, "http://127.0.0.1:8080")
	for _, want := range []string{"\n:8080 {\n", "dynamic a gateway 8080 {", "handle " + path + " {"} {
		if !strings.Contains(text, want) {
			t.Errorf("the front's Caddyfile has no %q", want)
		}
	}
	if env := readImage(t).env; env["TIDEGATE_LISTEN"] != ":8080" || env["TIDEGATE_BIND"] != "0.0.0.0" {
		t.Errorf("gateways listen on %v", env)
	}
}
