package gateway

import (
	"context"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/tidegate/tidegate/integration/tidegatetest"
)

// shipped starts the repository's Caddyfile with variables, on loopback.
func shipped(t *testing.T, sim *tidegatetest.Sim, env ...string) *tidegatetest.Gateway {
	t.Helper()
	addr := tidegatetest.FreeAddr(t)
	_, port, err := net.SplitHostPort(addr)
	if err != nil {
		t.Fatal(err)
	}
	env = append([]string{"TIDEGATE_LISTEN=http://:" + port, "TIDEGATE_UPSTREAMS=" + sim.URL}, env...)
	return tidegatetest.Start(t, "http://"+addr, "http://"+addr+"/ready", env, tidegatetest.Binary(t), "run", "--config", shippedCaddyfile(t))
}

func shippedCaddyfile(t *testing.T) string { return filepath.Join(tidegatetest.Root(t), "Caddyfile") }

// askWith sends a GET with headers.
func askWith(t *testing.T, c *http.Client, url string, header ...string) (int, string) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	answer, err := c.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	if err != nil {
		t.Fatal(err)
	}
	return answer.StatusCode, string(text)
}

// overSocket is a client whose requests go to a Unix socket.
func overSocket(t *testing.T, path string) *http.Client {
	t.Helper()
	transport := &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", path)
	}}
	return &http.Client{Transport: transport}
}

// No secret of the shipped configuration is in what the admin endpoint shows, in
// /health, in a log or in a file, and only the gateway's user gets at that endpoint.
func TestShippedConfigurationShowsNoSecret(t *testing.T) {
	t.Parallel()
	sim := tidegatetest.StartSim(t, "--api-key", "sk-upstream")
	dir := t.TempDir()
	socket := filepath.Join(dir, "admin.sock")
	nowhere := tidegatetest.FreeAddr(t)
	env := []string{
		"TIDEGATE_DATA=" + dir, "TIDEGATE_ADMIN=unix/" + socket + "|0600", "TIDEGATE_ACCESS_LOG=on",
		"TIDEGATE_API_KEYS=sk-first,sk-second sk-third", "TIDEGATE_UPSTREAM_API_KEY=sk-upstream", "TIDEGATE_METRICS_KEYS=sk-metrics",
		"TIDEGATE_STORE=postgres postgres://tidegate:sk-postgres@" + nowhere + "/tidegate?sslmode=disable",
		"TIDEGATE_QUEUE=redis redis://:sk-redis@" + nowhere,
	}
	home := t.TempDir()
	g := shipped(t, sim, append(env, "HOME="+home, "XDG_DATA_HOME="+home, "XDG_CONFIG_HOME="+home)...)
	for _, key := range []string{"sk-first", "sk-second", "sk-third"} {
		if status, text := askWith(t, http.DefaultClient, g.URL+"/v1/models", "Api-Key", key); status != http.StatusOK {
			t.Errorf("%s: got %d %s, want 200", key, status, text)
		}
	}
	if status, _ := askWith(t, http.DefaultClient, g.URL+"/v1/models", "Authorization", "Bearer sk-first,sk-second sk-third"); status != http.StatusUnauthorized {
		t.Errorf("the whole list as a key: got %d, want 401", status)
	}
	for key, want := range map[string]int{"sk-metrics": http.StatusOK, "sk-other": http.StatusUnauthorized} {
		if status, text := askWith(t, http.DefaultClient, g.URL+"/metrics?key="+key, "Authorization", "Bearer "+key); status != want {
			t.Errorf("/metrics with %s: got %d %s, want %d", key, status, text, want)
		}
	}
	info, err := os.Stat(socket)
	if err != nil {
		t.Fatal(err)
	}
	if mode := info.Mode(); mode.Perm() != 0o600 || mode.Type() != fs.ModeSocket {
		t.Errorf("the admin endpoint is %s, want a socket of mode 0600", mode)
	}
	_, config := askWith(t, overSocket(t, socket), "http://127.0.0.1/config/")
	if !strings.Contains(config, sim.URL) {
		t.Errorf("the admin endpoint shows %s, want the configuration", config)
	}
	_, health := askWith(t, http.DefaultClient, g.URL+"/health", "X-Api-Key", "sk-first")
	_, doctor := askWith(t, http.DefaultClient, g.URL+"/doctor", "X-Api-Key", "sk-first")

	// A reload finds the socket by the same variables.
	reload := exec.CommandContext(t.Context(), tidegatetest.Binary(t), "reload", "--force", "--config", shippedCaddyfile(t))
	reload.Env = append(append(os.Environ(), env...), "TIDEGATE_UPSTREAMS="+sim.URL, "TIDEGATE_LISTEN=http://:"+g.URL[strings.LastIndex(g.URL, ":")+1:])
	printed, err := reload.CombinedOutput()
	if err != nil {
		t.Errorf("tidegate reload: %v\n%s", err, printed)
	}
	g.Stop(t)
	shown := map[string]string{"/config/": config, "/health": health, "/doctor": doctor, "the log": g.Log(t), "tidegate reload": string(printed)}
	for _, root := range []string{dir, home} {
		err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
			if err != nil || !d.Type().IsRegular() {
				return err
			}
			text, err := os.ReadFile(path)
			shown[path] = string(text)
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	if !strings.Contains(shown["the log"], "/v1/models") {
		t.Errorf("no access log in %s", shown["the log"])
	}
	for where, text := range shown {
		for _, secret := range regexp.MustCompile(`sk-[a-z]+`).FindAllString(text, -1) {
			if secret != "sk-other" || where != "the log" {
				t.Errorf("%s shows %s", where, secret)
			}
		}
		if strings.HasSuffix(where, "autosave.json") {
			t.Errorf("the configuration is saved: %s", where)
		}
	}
}

// Without TIDEGATE_ADMIN there is no admin endpoint.
func TestShippedConfigurationHasNoAdmin(t *testing.T) {
	t.Parallel()
	command := exec.CommandContext(t.Context(), tidegatetest.Binary(t), "adapt", "--config", shippedCaddyfile(t))
	command.Env = bare()
	text, err := command.CombinedOutput()
	if err != nil || !strings.Contains(string(text), `"admin":{"disabled":true,"config":{"persist":false}}`) {
		t.Errorf("got %v: %s, want no admin endpoint and nothing saved", err, text)
	}
}

// bare is the environment without the gateway's variables.
func bare(more ...string) []string {
	var env []string
	for _, pair := range os.Environ() {
		if !strings.HasPrefix(pair, "TIDEGATE_") {
			env = append(env, pair)
		}
	}
	return append(env, more...)
}

// A variable that is set to nothing counts as not set, each alone and all at once: a
// compose file passes `${NAME:-}` on as empty. A file of --envfile, which is read
// later, is refused with the name.
func TestEmptyVariables(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile(shippedCaddyfile(t))
	if err != nil {
		t.Fatal(err)
	}
	names := map[string]bool{}
	for _, found := range regexp.MustCompile(`\{(?:\$|env\.)(TIDEGATE_[A-Z_]+)[:}]`).FindAllStringSubmatch(string(text), -1) {
		names[found[1]] = true
	}
	if len(names) < 20 {
		t.Fatalf("only %d variables were found", len(names))
	}
	adapt := func(env []string, args ...string) (string, error) {
		command := exec.CommandContext(t.Context(), tidegatetest.Binary(t), append([]string{"adapt", "--config", shippedCaddyfile(t)}, args...)...)
		command.Env = bare(env...)
		printed, err := command.CombinedOutput()
		return string(printed), err
	}
	want, err := adapt(nil)
	if err != nil {
		t.Fatalf("%v: %s", err, want)
	}
	var all []string
	for name := range names {
		all = append(all, name+"=")
		for _, empty := range []string{"", " "} {
			if got, err := adapt([]string{name + "=" + empty}); err != nil || got != want {
				t.Errorf("%s=%q: got %v, %s, want what is without it: %s", name, empty, err, got, want)
			}
		}
		file := filepath.Join(t.TempDir(), "env")
		if err := os.WriteFile(file, []byte(name+"=\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		got, err := adapt(nil, "--envfile", file)
		named := strings.Contains(got, name+" set to nothing") || name == "TIDEGATE_ACCESS_LOG" && strings.Contains(got, "access_log_,")
		if err == nil || !named {
			t.Errorf("--envfile with %s=: got %v, %s, want an error that names it", name, err, got)
		}
	}
	if got, err := adapt(all); err != nil || got != want {
		t.Errorf("all: got %v, %s, want what is without them: %s", err, got, want)
	}
}

// Keys of `serve` are not in its configuration, given as flags or as variables.
func TestServeShowsNoSecret(t *testing.T) {
	sim := tidegatetest.StartSim(t, "--api-key", "sk-upstream")
	for name, cfg := range map[string]tidegatetest.ServeConfig{
		"flags":     {APIKey: "sk-client", Args: []string{"--api-key", "sk-more,sk-most", "--upstream-api-key", "sk-upstream"}},
		"variables": {Env: []string{"TIDEGATE_API_KEY=sk-client sk-more sk-most", "TIDEGATE_UPSTREAM_API_KEY=sk-upstream"}},
	} {
		t.Run(name, func(t *testing.T) {
			admin := tidegatetest.FreeAddr(t)
			cfg.Sims, cfg.Args = []*tidegatetest.Sim{sim}, append(cfg.Args, "--admin", admin, "--access-log", "--debug")
			g := tidegatetest.Serve(t, cfg)
			for key, want := range map[string]int{"sk-client": 200, "sk-more": 200, "sk-most": 200, "sk-none": 401} {
				if status, text := askWith(t, http.DefaultClient, g.URL+"/v1/models", "X-Api-Key", key); status != want {
					t.Errorf("%s: got %d %s, want %d", key, status, text, want)
				}
			}
			_, config := askWith(t, http.DefaultClient, fmt.Sprintf("http://%s/config/", admin))
			for where, text := range map[string]string{"/config/": config, "the log": g.Log(t)} {
				if secret := regexp.MustCompile(`sk-[a-z]+`).FindString(text); secret != "" || text == "" {
					t.Errorf("%s shows %q", where, secret)
				}
			}
		})
	}
}
