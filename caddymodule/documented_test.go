package caddymodule

import (
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"
	caddycmd "github.com/caddyserver/caddy/v2/cmd"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

func read(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// Every word of the Caddyfile stands in the documentation, and in the grammar
// above UnmarshalCaddyfile.
func TestWordsAreDocumented(t *testing.T) {
	pages := map[string]string{
		"docs/configuration.md": read(t, "../docs/configuration.md"),
		"caddyfile.go":          read(t, "caddyfile.go"),
	}
	grammar, _, _ := strings.Cut(pages["caddyfile.go"][strings.Index(pages["caddyfile.go"], "// UnmarshalCaddyfile"):], "\nfunc")
	for _, options := range []map[string]option{new(App).options(), new(KeyConfig).options(), new(PoolConfig).options(), new(UpstreamConfig).options(), new(BatchConfig).options()} {
		for word := range options {
			if !regexp.MustCompile("\\| `" + word + "[ `]").MatchString(pages["docs/configuration.md"]) {
				t.Errorf("%s is not in docs/configuration.md", word)
			}
			if !regexp.MustCompile(`//\s+` + word + `\s`).MatchString(grammar) {
				t.Errorf("%s is not in the grammar of caddyfile.go", word)
			}
		}
	}
}

// Every route of tidegate_api stands in the row of that directive.
func TestRoutesAreDocumented(t *testing.T) {
	row := regexp.MustCompile("(?m)^\\| `tidegate_api .*$").FindString(read(t, "../docs/configuration.md"))
	_, routes, _ := strings.Cut(read(t, "handlers.go"), "func (h *APIHandler) ServeHTTP")
	routes, _, _ = strings.Cut(routes, "\n}\n")
	found := regexp.MustCompile(`path(?: ==|,) "(/[^"]+)"`).FindAllStringSubmatch(routes, -1)
	if len(found) < 13 {
		t.Errorf("only %d routes were found", len(found))
	}
	for _, route := range found {
		if !strings.Contains(row, "`"+route[1]+"`") {
			t.Errorf("%s is not in the row %s", route[1], row)
		}
	}
}

// So does every word of a driver.
func TestDriversAreDocumented(t *testing.T) {
	page := read(t, "../docs/configuration.md")
	for driver, options := range map[string]map[string]option{"postgres": new(PostgresStore).options(), "redis": new(RedisQueue).options(), "s3": new(S3Files).options()} {
		for word := range options {
			if !regexp.MustCompile("\\| `" + word + " [^|]*\\(in `" + driver + "`\\)").MatchString(page) {
				t.Errorf("%s of %s is not in docs/configuration.md", word, driver)
			}
		}
	}
	for _, id := range []string{"tidegate.stores", "tidegate.queues", "tidegate.files", "tidegate.balancers"} {
		for _, m := range caddy.GetModules(id) {
			kind := map[string]string{"tidegate.stores": "store", "tidegate.queues": "queue", "tidegate.files": "files", "tidegate.balancers": "balancer"}[id]
			if name := m.ID.Name(); name != "late" && name != "far" && !strings.Contains(page, "| `"+kind+" "+name) {
				t.Errorf("%s is not in docs/configuration.md", m.ID)
			}
		}
	}
}

// Every flag of serve and every variable of the Caddyfile is documented, and
// nothing that does not exist.
func TestFlagsAndVariablesAreDocumented(t *testing.T) {
	page := read(t, "../docs/configuration.md")
	cmd := new(cobra.Command)
	caddycmd.Commands()["serve"].CobraFunc(cmd)
	cmd.Flags().VisitAll(func(f *pflag.Flag) {
		if !strings.Contains(page, "| `--"+f.Name+" ") && !strings.Contains(page, "| `--"+f.Name+"`") {
			t.Errorf("--%s is not in docs/configuration.md", f.Name)
		}
	})
	for _, flag := range regexp.MustCompile("(?m)^\\| `--([a-z-]+)").FindAllStringSubmatch(page, -1) {
		if cmd.Flags().Lookup(flag[1]) == nil {
			t.Errorf("docs/configuration.md has --%s, which does not exist", flag[1])
		}
	}
	file := read(t, "../Caddyfile")
	used := map[string]bool{}
	for _, v := range regexp.MustCompile(`\{(?:\$|env\.)(TIDEGATE_[A-Z_]+)`).FindAllStringSubmatch(file, -1) {
		used[v[1]] = true
		if !strings.Contains(page, "| `"+v[1]+"` |") {
			t.Errorf("%s is not in docs/configuration.md", v[1])
		}
		if !regexp.MustCompile("(?m)^#   " + v[1] + " ").MatchString(file) {
			t.Errorf("%s is not explained at the top of the Caddyfile", v[1])
		}
	}
	for _, v := range regexp.MustCompile("(?m)^\\| `(TIDEGATE_[A-Z_]+)` \\|").FindAllStringSubmatch(page, -1) {
		if !used[v[1]] {
			t.Errorf("docs/configuration.md has %s, which the Caddyfile does not read", v[1])
		}
	}
}
