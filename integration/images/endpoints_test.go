package images

import (
	"bytes"
	"context"
	"errors"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/compose-spec/compose-go/v2/cli"

	"github.com/tidegate/tidegate/integration/tidegatetest"
	"github.com/tidegate/tidegate/internal/openai"
)

// endpointTest is a run of deploy/endpoint-test.
type endpointTest struct {
	*exec.Cmd
	out  bytes.Buffer
	temp string // where it may keep files
}

// endpointTesting prepares a run against a gateway with the key "test" and more variables.
func endpointTesting(t *testing.T, url string, env []string, args ...string) *endpointTest {
	t.Helper()
	e := &endpointTest{temp: t.TempDir()}
	argv := append([]string{filepath.Join(tidegatetest.Root(t), "deploy/endpoint-test")}, args...)
	e.Cmd = exec.CommandContext(context.WithoutCancel(t.Context()), "sh", argv...)
	e.Env = append([]string{"PATH=" + os.Getenv("PATH"), "TMPDIR=" + e.temp, "TIDEGATE_SERVER=" + url, "TIDEGATE_API_KEY=test"}, env...)
	e.Stdout, e.Stderr = &e.out, &e.out
	return e
}

// ends waits for the end of a run that was started and returns its exit code.
func (e *endpointTest) ends(t *testing.T) int {
	t.Helper()
	var exit *exec.ExitError
	if err := e.Wait(); err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	if left, err := os.ReadDir(e.temp); err != nil || len(left) > 0 {
		t.Errorf("it left %v on the disk (%v)", left, err)
	}
	return e.ProcessState.ExitCode()
}

// oneAtATime are the arguments of a simulated server that takes minutes for a batch of
// 20,000 lines.
var oneAtATime = []string{"--max-num-seqs", "1", "--ttft", "50ms"}

// wantNothing fails the test if the gateway has a file or a batch.
func wantNothing(t *testing.T, g *tidegatetest.Gateway) {
	t.Helper()
	var files openai.List[openai.File]
	g.Get(t, "/v1/files", &files)
	var batches openai.List[openai.Batch]
	g.Get(t, "/v1/batches", &batches)
	if len(files.Data) > 0 || len(batches.Data) > 0 {
		t.Errorf("it left the files %+v and the batches %+v", files.Data, batches.Data)
	}
}

// The compose file of the tests has a gateway that asks the named server, and the
// script with the gateway's key.
func TestComposeOfEndpointTest(t *testing.T) {
	p := loadFile(t, filepath.Join(tidegatetest.Root(t), "deploy/compose.test.yml"), cli.WithEnv([]string{"TEST_API_BASE=https://api.example.com/v1", "TEST_API_KEY=theirs"}))
	if got := upstreamURLs(t, p.Services["gateway"]); len(got) != 1 || got[0] != "https://api.example.com/v1" {
		t.Errorf("the gateway asks %v", got)
	}
	test := p.Services["test"]
	if *test.Environment["TIDEGATE_API_KEY"] != *p.Services["gateway"].Environment["TIDEGATE_API_KEYS"] || *test.Environment["TIDEGATE_SERVER"] != "http://gateway:8080" {
		t.Errorf("the test has %v", test.Environment)
	}
	if got, want := p.Configs["test"].File, filepath.Join(tidegatetest.Root(t), "deploy/endpoint-test"); got != want || test.Configs[0].Source != "test" {
		t.Errorf("the test runs %s, want %s", got, want)
	}
	if !strings.HasPrefix(test.Image, "curlimages/curl:8.") {
		t.Errorf("the test runs in %s, want a pinned image with curl", test.Image)
	}
}

// The endpoint tests pass on a gateway whose servers answer, fail with the reason on
// others, and leave nothing behind in either case.
func TestEndpointTest(t *testing.T) {
	good := tidegatetest.Serve(t, tidegatetest.ServeConfig{Sims: tidegatetest.StartSims(t, 1), APIKey: "test"})
	mute := tidegatetest.Serve(t, tidegatetest.ServeConfig{Sims: tidegatetest.StartSims(t, 1, "--ttft", "1h"), APIKey: "test"})
	slow := tidegatetest.Serve(t, tidegatetest.ServeConfig{Sims: tidegatetest.StartSims(t, 1, oneAtATime...), APIKey: "test"})
	broken := tidegatetest.Serve(t, tidegatetest.ServeConfig{Sims: tidegatetest.StartSims(t, 1, "--fault", "status-400=1"), APIKey: "test"})
	// With this seed the first requests, which are live, meet no fault.
	partly := tidegatetest.Serve(t, tidegatetest.ServeConfig{Sims: tidegatetest.StartSims(t, 1, "--fault", "status-400=0.3", "--seed", "9"), APIKey: "test"})
	sims := tidegatetest.StartSims(t, 1)
	alone := tidegatetest.Serve(t, tidegatetest.ServeConfig{Sims: sims, APIKey: "test"})
	sims[0].Stop(t)
	tidegatetest.Eventually(t, 30*time.Second, "the gateway to notice that its server is gone", func() bool {
		status, _, err := alone.Call(t.Context(), "GET", "/ready", "", nil)
		return err == nil && status == 503
	})
	for name, c := range map[string]struct {
		g    *tidegatetest.Gateway
		url  string // in place of the gateway's
		env  []string
		args []string
		code int
		want []string // parts of the output
	}{
		"all checks pass": {g: good, want: []string{
			"ok      ready\n", "ok      models: the first one is sim\n", "ok      keys: ", "ok      chat\n", "ok      chat, streamed\n",
			"ok      completions\n", "ok      completions, streamed\n", "ok      embeddings\n", "ok      responses\n", "ok      messages\n",
			"ok      upload, compressed; download\n", "ok      batch of 100 requests in ", "ok      list of batches\n", "ok      list of files\n",
			"ok      reports\n", "ok      cleanup: ", "\n== all checks passed\n",
		}},
		"base URL of a client": {g: good, url: good.URL + "/v1/", env: []string{"TEST_LINES=1"}, want: []string{"ok      batch of 1 requests in ", "\n== all checks passed\n"}},
		"a batch of embeddings": {g: good, env: []string{"TEST_ENDPOINTS=embeddings", "TEST_LINES=3", "TEST_MODEL=sim"}, want: []string{
			"ok      models: sim is there\n", "== batch of 3 requests to /v1/embeddings\n", "\n== all checks passed\n",
		}},
		"wrong key": {g: good, env: []string{"TIDEGATE_API_KEY=wrong"}, code: 1, want: []string{"FAILED  models: 401 Incorrect API key provided.\n", "\n== 1 checks FAILED\n"}},
		"model missing": {g: good, env: []string{"TEST_MODEL=missing"}, code: 1, want: []string{
			"FAILED  models: TEST_MODEL=missing is not among: sim", "FAILED  chat: 404 ", "skip    embeddings: 404 ", "ok      list of files\n", "skip    batch: chat failed\n", "ok      cleanup: ", "\n== 2 checks FAILED\n",
		}},
		"server gone": {g: alone, code: 1, want: []string{"FAILED  ready: 503 ", "checks FAILED\n"}},
		"server silent": {g: mute, env: []string{"TEST_TIMEOUT=1"}, code: 1, want: []string{
			"FAILED  chat: curl: (28) ", "skip    batch: chat failed\n", "ok      cleanup: ", "checks FAILED\n",
		}},
		"batch too slow": {g: slow, env: []string{"TEST_TIMEOUT=2", "TEST_LINES=20000"}, code: 1, want: []string{
			"ok      chat\n", " is in_progress after 2 s with ", " of 20000: ", "ok      cleanup: ", "\n== 1 checks FAILED\n",
		}},
		"server refuses": {g: broken, code: 1, want: []string{
			"FAILED  chat: 400 ", "skip    completions: 400 ", "skip    batch: chat failed\n", "ok      cleanup: ", "\n== 1 checks FAILED\n",
		}},
		"server refuses lines": {g: partly, code: 1, want: []string{
			"ok      chat\n", "FAILED  batch: ", " of 100 requests failed: {", "ok      cleanup: ", "checks FAILED\n",
		}},
		"no gateway": {g: good, url: "http://" + tidegatetest.FreeAddr(t), code: 1, want: []string{"FAILED  ready: curl: (7) ", "\n== 1 checks FAILED\n"}},
		"help":       {g: good, args: []string{"--help"}, want: []string{"usage: TIDEGATE_SERVER=URL ", "TEST_TIMEOUT"}},
		"arguments":  {g: good, args: []string{"all"}, code: 2, want: []string{"usage: ", "there are no arguments, but: all\n"}},
		"no number":  {g: good, env: []string{"TEST_LINES=0"}, code: 2, want: []string{`TEST_LINES is "0"`}},
		"no endpoint": {g: good, env: []string{"TEST_ENDPOINTS=chat images"}, code: 2, want: []string{
			`TEST_ENDPOINTS has "images"`,
		}},
	} {
		t.Run(name, func(t *testing.T) {
			url := c.g.URL
			if c.url != "" {
				url = c.url
			}
			e := endpointTesting(t, url, c.env, c.args...)
			if err := e.Start(); err != nil {
				t.Fatal(err)
			}
			code, out := e.ends(t), e.out.String()
			if code != c.code || (code == 1) != strings.Contains(out, "FAILED  ") {
				t.Errorf("it ended with %d, want %d\n%s", code, c.code, out)
			}
			for _, want := range c.want {
				if !strings.Contains(out, want) {
					t.Errorf("it does not print %q:\n%s", want, out)
				}
			}
			wantNothing(t, c.g)
		})
	}
}

// Interrupted while its batch runs, the test deletes the batch and its input.
func TestEndpointTestInterrupted(t *testing.T) {
	// A shell cannot handle a signal that was ignored when it was started, as below nohup.
	handled := make(chan os.Signal, 1)
	signal.Notify(handled, syscall.SIGHUP)
	defer signal.Stop(handled)
	g := tidegatetest.Serve(t, tidegatetest.ServeConfig{Sims: tidegatetest.StartSims(t, 1, oneAtATime...), APIKey: "test"})
	for signal, code := range map[os.Signal]int{syscall.SIGINT: 130, syscall.SIGTERM: 143, syscall.SIGHUP: 129} {
		e := endpointTesting(t, g.URL, []string{"TEST_LINES=20000"})
		if err := e.Start(); err != nil {
			t.Fatal(err)
		}
		tidegatetest.Eventually(t, time.Minute, "the test to create a batch", func() bool {
			var batches openai.List[openai.Batch]
			g.Get(t, "/v1/batches", &batches)
			return len(batches.Data) > 0
		})
		if err := e.Process.Signal(signal); err != nil {
			t.Fatal(err)
		}
		if got, out := e.ends(t), e.out.String(); got != code || !strings.Contains(out, "ok      cleanup: ") || !strings.HasSuffix(out, "== interrupted\n") {
			t.Errorf("%v: it ended with %d, want %d\n%s", signal, got, code, out)
		}
		wantNothing(t, g)
	}
}
