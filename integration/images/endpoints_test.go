package images

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/compose-spec/compose-go/v2/cli"

	"github.com/tidegate/tidegate/integration/tidegatetest"
)

// The endpoint tests pass on a gateway with a server, and fail on one whose server
// refuses everything.
func TestEndpointTests(t *testing.T) {
	p := loadFile(t, filepath.Join(tidegatetest.Root(t), "deploy/compose.test.yml"), cli.WithEnv([]string{"TEST_API_BASE=https://api.example.com/v1", "TEST_API_KEY=theirs"}))
	if got := upstreamURLs(t, p.Services["gateway"]); len(got) != 1 || got[0] != "https://api.example.com/v1" {
		t.Errorf("the gateway asks %v", got)
	}
	test := p.Services["test"]
	if *test.Environment["TIDEGATE_API_KEY"] != *p.Services["gateway"].Environment["TIDEGATE_API_KEYS"] || *test.Environment["TIDEGATE_SERVER"] != "http://gateway:8080" {
		t.Errorf("the test has %v", test.Environment)
	}
	bin := t.TempDir()
	if err := os.Symlink(tidegatetest.Binary(t), filepath.Join(bin, "tidegate")); err != nil {
		t.Fatal(err)
	}
	run := func(g *tidegatetest.Gateway, key string) (string, error) {
		cmd := exec.CommandContext(context.WithoutCancel(t.Context()), "sh", p.Configs["test"].File)
		cmd.Env = []string{"PATH=" + bin + ":" + os.Getenv("PATH"), "HOME=" + t.TempDir(), "TIDEGATE_SERVER=" + g.URL, "TIDEGATE_API_KEY=" + key}
		out, err := cmd.CombinedOutput()
		return string(out), err
	}
	g := tidegatetest.Serve(t, tidegatetest.ServeConfig{Sims: tidegatetest.StartSims(t, 1), APIKey: "test"})
	if out, err := run(g, "test"); err != nil || !strings.HasSuffix(out, "== all is well\n") {
		t.Errorf("%v\n%s", err, out)
	}
	if out, err := run(g, "wrong"); err == nil {
		t.Errorf("they pass with a wrong key:\n%s", out)
	}
}
