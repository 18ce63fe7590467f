// Package adapt tests the Caddyfile grammar: each file of testdata is an input,
// a line of dashes, and the JSON that it becomes or the error that it is
// refused with.
package adapt

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"
	_ "github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile" // the adapter
	_ "github.com/caddyserver/caddy/v2/modules/standard"

	_ "github.com/tidegate/tidegate/caddymodule"
)

const dashes = "----------\n"

var update = flag.Bool("update", false, "write what the inputs become now")

func TestAdapt(t *testing.T) {
	files, err := filepath.Glob("testdata/*.caddyfiletest")
	if err != nil || len(files) == 0 {
		t.Fatalf("no cases: %v", err)
	}
	for _, path := range files {
		name := strings.TrimSuffix(filepath.Base(path), ".caddyfiletest")
		t.Run(name, func(t *testing.T) {
			text, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			input, want, ok := strings.Cut(string(text), dashes)
			if !ok {
				t.Fatal("no line of dashes")
			}
			got := adapt(t, input)
			if *update {
				if err := os.WriteFile(path, []byte(input+dashes+got+"\n"), 0o644); err != nil {
					t.Fatal(err)
				}
				return
			}
			if got != strings.TrimSpace(want) {
				t.Errorf("got:\n%s\nwant:\n%s", got, strings.TrimSpace(want))
			}
		})
	}
}

// adapt returns the JSON of a Caddyfile, which must then be valid, or the error.
func adapt(t *testing.T, input string) string {
	t.Helper()
	text, warnings, err := caddyconfig.GetAdapter("caddyfile").Adapt([]byte(input), map[string]any{"filename": "Caddyfile"})
	if err != nil {
		return err.Error()
	}
	for _, w := range warnings {
		if !strings.Contains(w.Message, "not formatted") {
			t.Errorf("warning: %s", w)
		}
	}
	var cfg caddy.Config
	if err := json.Unmarshal(text, &cfg); err != nil {
		t.Fatal(err)
	}
	if err := caddy.Validate(&cfg); err != nil {
		// Caddy loads apps in random order, so the requesting app varies.
		reason := err.Error()
		if i := strings.LastIndex(reason, "provision tidegate: "); i >= 0 {
			reason = reason[i:]
		}
		return "invalid: " + reason
	}
	var pretty bytes.Buffer
	if err := json.Indent(&pretty, text, "", "\t"); err != nil {
		t.Fatal(err)
	}
	return pretty.String()
}

// TestShippedCaddyfile checks that the Caddyfile of the repository is valid without any
// variable and with all of them.
func TestShippedCaddyfile(t *testing.T) {
	text, err := os.ReadFile("../../Caddyfile")
	if err != nil {
		t.Fatal(err)
	}
	if got := adapt(t, string(text)); !strings.Contains(got, `"listen": [
						"127.0.0.1:8080"
					]`) {
		t.Errorf("it does not listen on loopback by default: %s", got)
	}
	for name, value := range map[string]string{
		"TIDEGATE_UPSTREAMS": "http://a:8000 http://b:8000", "TIDEGATE_LISTEN": ":9000", "TIDEGATE_BIND": "0.0.0.0",
		"TIDEGATE_API_KEYS": "one,two", "TIDEGATE_UPSTREAM_API_KEY": "three", "TIDEGATE_METRICS_KEYS": "four", "TIDEGATE_ACCESS_LOG": "on",
		"TIDEGATE_STORE": "postgres postgres://five:six@db/tidegate", "TIDEGATE_QUEUE": "redis redis://:seven@cache",
		"TIDEGATE_DATA":         "/srv/tidegate",
		"TIDEGATE_MAX_NUM_SEQS": "512", "TIDEGATE_BATCH_SHARE": "0.9", "TIDEGATE_MAX_IN_FLIGHT": "1024", "TIDEGATE_ADMIN": "off",
	} {
		t.Setenv(name, value)
	}
	got := adapt(t, string(text))
	for _, want := range []string{"http://a:8000", "http://b:8000", "0.0.0.0:9000", `{env.TIDEGATE_API_KEYS:}`, `{env.TIDEGATE_UPSTREAM_API_KEY:}`, `{env.TIDEGATE_METRICS_KEYS:}`, `"driver": "postgres"`, `"driver": "redis"`, `"default_logger_name"`, "/srv/tidegate", "512", "0.9", "1024", `"disabled": true`} {
		if !strings.Contains(got, want) {
			t.Errorf("no %s in %s", want, got)
		}
	}
	for _, secret := range []string{"one", "two", "three", "four", "five", "six", "seven"} {
		if strings.Contains(got, secret) {
			t.Errorf("the secret %s is in %s", secret, got)
		}
	}
}

// Lists in variables are separated by spaces or commas.
func TestShippedCaddyfileLists(t *testing.T) {
	text, err := os.ReadFile("../../Caddyfile")
	if err != nil {
		t.Fatal(err)
	}
	for _, separator := range []string{" ", ",", ", ", " , "} {
		t.Run(fmt.Sprintf("%q", separator), func(t *testing.T) {
			t.Setenv("TIDEGATE_UPSTREAMS", "http://a:8000"+separator+"https://b:8001/v1"+separator+"unix//c")
			t.Setenv("TIDEGATE_HOSTS", "a.example.com"+separator+"b.example.com")
			t.Setenv("TIDEGATE_CORS", "https://a.example.com"+separator+"http://B.example.com:81")
			got := strings.Join(strings.Fields(adapt(t, string(text))), " ")
			for _, want := range []string{`"upstreams": [ { "url": "http://a:8000" }, { "url": "https://b:8001/v1" }, { "url": "unix//c" } ]`, `"hosts": [ "a.example.com", "b.example.com" ]`, `"cors": [ "https://a.example.com", "http://b.example.com:81" ]`} {
				if !strings.Contains(got, want) {
					t.Errorf("got %s, want %s", got, want)
				}
			}
		})
	}
}

// TIDEGATE_ACCESS_LOG is on or off, or true or false.
func TestShippedCaddyfileAccessLog(t *testing.T) {
	text, err := os.ReadFile("../../Caddyfile")
	if err != nil {
		t.Fatal(err)
	}
	for value, want := range map[string]bool{"on": true, "true": true, "off": false, "false": false} {
		t.Run(value, func(t *testing.T) {
			t.Setenv("TIDEGATE_ACCESS_LOG", value)
			if got := adapt(t, string(text)); strings.Contains(got, `"default_logger_name"`) != want || !strings.HasPrefix(got, "{") {
				t.Errorf("got %s, want an access log: %t", got, want)
			}
		})
	}
}

// A variable for keys that contains separators and no key is refused, so that the
// gateway is not open by mistake. A blank one counts as unset.
func TestShippedCaddyfileRefusesSeparatorsAsKeys(t *testing.T) {
	text, err := os.ReadFile("../../Caddyfile")
	if err != nil {
		t.Fatal(err)
	}
	t.Setenv("TIDEGATE_AUTH", "off")
	t.Setenv("TIDEGATE_DATA", t.TempDir())
	for name, directive := range map[string]string{"TIDEGATE_API_KEYS": "api_keys: ", "TIDEGATE_METRICS_KEYS": "metrics: keys: "} {
		for _, value := range []string{",", ",,", " , ,\n", "{env.TIDEGATE_UNSET},{env.TIDEGATE_UNSET}", "key {env.TIDEGATE_UNSET}"} {
			t.Run(name+"="+value, func(t *testing.T) {
				t.Setenv(name, value)
				if got := adapt(t, string(text)); !strings.Contains(got, "provision tidegate: "+directive) || !strings.Contains(got, "a key is empty") || !strings.Contains(got, name) {
					t.Errorf("got %.300s, want an error that names the variable", got)
				}
			})
		}
	}
}

// Every whole Caddyfile in the documentation is valid. A fragment does not begin
// with global options.
func TestDocumentedCaddyfiles(t *testing.T) {
	for name, value := range map[string]string{
		"TIDEGATE_API_KEY": "one", "DATABASE_URL": "postgres://tidegate@db/tidegate", "REDIS_URL": "redis://queue",
	} {
		t.Setenv(name, value)
	}
	paths, err := filepath.Glob("../../docs/*.md")
	if err != nil {
		t.Fatal(err)
	}
	found := 0
	for _, path := range append(paths, "../../README.md") {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		for _, block := range strings.Split(string(text), "```caddyfile\n")[1:] {
			file, _, _ := strings.Cut(block, "```")
			if !strings.HasPrefix(file, "{\n") {
				continue
			}
			found++
			if got := adapt(t, file); !strings.HasPrefix(got, "{") {
				t.Errorf("%s: %s\n%s", path, got, file)
			}
		}
	}
	if found < 3 {
		t.Errorf("only %d were found", found)
	}
}
