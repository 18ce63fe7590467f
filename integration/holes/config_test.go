package holes

import (
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/tidegate/tidegate/integration/tidegatetest"
)

// The configuration that Caddy shows and saves has no key and no password, and neither has a
// report that the database and the queue cannot be reached.
func TestConfigurationShowsNoSecrets(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	file := filepath.Join(dir, "key")
	if err := os.WriteFile(file, []byte("sk-from-a-file"), 0o600); err != nil {
		t.Fatal(err)
	}
	secrets := map[string]string{
		"HOLES_KEY": "sk-hidden-client", "HOLES_UPSTREAM": "sk-hidden-upstream", "HOLES_METRICS": "sk-hidden-metrics",
		"HOLES_WEBHOOK": "whsec_MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE=", "HOLES_REDIS": "redis://user:hidden-password@127.0.0.1:1/0", "HOLES_STORE": "postgres://user:hidden-password@127.0.0.1:1/db", "HOLES_GUARD": "sk-hidden-guard",
	}
	env := []string{"XDG_CONFIG_HOME=" + dir}
	for name, value := range secrets {
		env = append(env, name+"="+value)
	}
	w := start(t, tidegatetest.Settings{
		App: keys + `
			api_keys {env.HOLES_KEY} {file.` + file + `}
			metrics keys {env.HOLES_METRICS}
			store postgres {env.HOLES_STORE}
			queue redis {env.HOLES_REDIS}
			webhook https://hooks.example.com/x {
				secret {env.HOLES_WEBHOOK}
			}`,
		Pool: "api_key {env.HOLES_UPSTREAM}", Env: env,
	})
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+w.Admin+"/config/", http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	got, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer got.Body.Close()
	shown, err := io.ReadAll(got.Body)
	if err != nil || !strings.Contains(string(shown), "HOLES_KEY") || !strings.Contains(string(shown), "hooks.example.com") {
		t.Fatalf("%v: the configuration is %s", err, shown)
	}
	texts := map[string]string{"/config/": string(shown), "the log": w.Log(t), "/health": w.ask(t, "GET", "/health", admin, "").body, "/doctor": w.ask(t, "GET", "/doctor", admin, "").body}
	err = filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() || path == file {
			return err
		}
		text, err := os.ReadFile(path)
		texts[path] = string(text)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	for place, text := range texts {
		for _, secret := range []string{"sk-hidden", "hidden-password", "sk-from-a-file", "MDEyMzQ1", admin, alice, bob} {
			if strings.Contains(text, secret) {
				i := strings.Index(text, secret)
				t.Errorf("%s has %s: %s", place, secret, text[max(0, i-200):min(len(text), i+100)])
			}
		}
	}
}
