package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/spf13/cobra"
	"go.uber.org/goleak"

	"github.com/tidegate/tidegate/batch"
	"github.com/tidegate/tidegate/batch/batchtest"
	"github.com/tidegate/tidegate/batch/httpapi"
	"github.com/tidegate/tidegate/internal/cli/client"
	"github.com/tidegate/tidegate/internal/openai"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// gateway is the real API and engine on the embedded drivers, without Caddy
// and with a pool that the test plays.
type gateway struct {
	*httptest.Server
	t    *testing.T
	held chan struct{} // closed by release

	mu   sync.Mutex
	hook http.HandlerFunc // guarded by mu; called first for every request
}

// answeredByHook is the panic value of a hook that has responded.
type answeredByHook struct{}

func newGateway(t *testing.T) *gateway {
	t.Helper()
	h := batchtest.New(t, batch.Config{})
	g := &gateway{t: t, held: make(chan struct{})}
	h.Pool.Answer, h.Pool.Models["tide-7b"] = g.answer, true // the model of the demo
	h.Open()
	api := httpapi.New(httpapi.Config{Files: h.Files(), Batches: h.Engine})
	g.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		defer func() {
			if err := recover(); err != nil && err != any(answeredByHook{}) {
				panic(err)
			}
		}()
		g.mu.Lock()
		hook := g.hook
		g.mu.Unlock()
		if hook != nil {
			hook(w, r)
		}
		if r.URL.Path == "/ready" {
			return
		}
		api.ServeHTTP(w, r)
	}))
	t.Cleanup(g.Close)
	return g
}

// intercept calls f for every request. f panics with answeredByHook after it has responded.
func (g *gateway) intercept(f http.HandlerFunc) {
	g.mu.Lock()
	g.hook = f
	g.mu.Unlock()
}

// answer answers by the content of the first message: "refuse" is refused, "hold" waits
// for release, everything else is echoed.
func (g *gateway) answer(ctx context.Context, content string, _ int) (batch.Answer, error) {
	a := batch.Answer{Status: http.StatusOK, Header: http.Header{}, Body: []byte(fmt.Sprintf(`{"echo":%q}`, content))}
	switch content {
	case "refuse":
		a.Status, a.Body = http.StatusBadRequest, []byte(`{"error":{"message":"no"}}`)
	case "hold":
		select {
		case <-g.held:
		case <-ctx.Done():
			return batch.Answer{}, ctx.Err()
		}
	}
	return a, nil
}

// release answers the requests that are held.
func (g *gateway) release() { close(g.held) }

// requests is a file of one request for each content.
func requests(contents ...string) string {
	var b strings.Builder
	for i, content := range contents {
		fmt.Fprintf(&b, `{"custom_id":"line-%d","method":"POST","url":"/v1/chat/completions","body":{"model":"m","messages":[{"role":"user","content":%q}]}}`+"\n", i, content)
	}
	return b.String()
}

func write(t *testing.T, name, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func read(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// invocation is a command line that was run.
type invocation struct {
	out, err string
	error    error
	code     int
}

// want fails unless the exit status is code and the error contains each of words.
func (i invocation) want(t *testing.T, code int, words ...string) invocation {
	t.Helper()
	if i.code != code {
		t.Errorf("status %d, want %d: %v\n%s%s", i.code, code, i.error, i.out, i.err)
	}
	for _, word := range words {
		if i.error == nil || !strings.Contains(i.error.Error(), word) {
			t.Errorf("error %q, want %q in it", fmt.Sprint(i.error), word)
		}
	}
	return i
}

// id returns the id that a command printed, and fails if it printed other output.
func (i invocation) id(t *testing.T) string {
	t.Helper()
	id, rest, _ := strings.Cut(i.out, "\n")
	if i.code != 0 || id == "" || rest != "" {
		t.Fatalf("status %d, %v, printed %q; want an id", i.code, i.error, i.out)
	}
	return id
}

func jsonOf[T any](t *testing.T, text string) T {
	t.Helper()
	var v T
	d := json.NewDecoder(strings.NewReader(text))
	if err := d.Decode(&v); err != nil {
		t.Fatalf("%q: %v", text, err)
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		t.Fatalf("%q is more than one value: %v", text, err)
	}
	return v
}

// commands are the program's own commands by name.
var commands = map[string]func(*cobra.Command){
	"batch": BatchCommand, "files": FilesCommand, "models": ModelsCommand, "upstreams": UpstreamsCommand,
	"drain": DrainCommand, "undrain": UndrainCommand, "doctor": DoctorCommand, "audit": AuditCommand, "keys": KeysCommand, "sim": SimCommand, "contents": ContentsCommand,
}

// tidegate runs a command line in this process.
func tidegate(ctx context.Context, in io.Reader, args ...string) invocation {
	root := &cobra.Command{Use: "tidegate", SilenceErrors: true}
	for name, set := range commands {
		cmd := &cobra.Command{Use: name}
		set(cmd)
		root.AddCommand(cmd)
	}
	var out, errs bytes.Buffer
	root.SetArgs(args)
	root.SetIn(in)
	root.SetOut(&out)
	root.SetErr(&errs)
	i := invocation{error: root.ExecuteContext(ctx)}
	i.out, i.err = out.String(), errs.String()
	if exit, ok := errors.AsType[*ExitError](i.error); ok {
		i.code = exit.Code
	} else if i.error != nil {
		i.code = 1
	}
	return i
}

// run runs a command line for this gateway.
func (g *gateway) run(args ...string) invocation {
	return g.pipe(strings.NewReader(""), args...)
}

// pipe is run with standard input.
func (g *gateway) pipe(in io.Reader, args ...string) invocation {
	g.t.Helper()
	return tidegate(g.t.Context(), in, append(args, "--server", g.URL)...)
}

// session is a session of this gateway without a command.
func (g *gateway) session() *session {
	return &session{Client: &client.Client{Server: g.URL, Pause: time.Millisecond}, out: io.Discard, err: io.Discard, in: strings.NewReader(""), patience: time.Minute}
}

// files are the names of all files that the gateway has, newest first.
func (g *gateway) files() (names []string) {
	g.t.Helper()
	if err := g.session().Files(g.t.Context(), "", func(f openai.File) bool { names = append(names, f.Filename); return true }); err != nil {
		g.t.Fatal(err)
	}
	return names
}

// batches are the ids of all batches, newest first.
func (g *gateway) batches() (ids []string) {
	g.t.Helper()
	if err := g.session().Batches(g.t.Context(), func(b openai.Batch) bool { ids = append(ids, b.ID); return true }); err != nil {
		g.t.Fatal(err)
	}
	return ids
}

// submit creates a batch and returns its id.
func (g *gateway) submit(contents ...string) string {
	g.t.Helper()
	return g.run("batch", "submit", write(g.t, "in.jsonl", requests(contents...))).id(g.t)
}

// ran is a batch that has ended.
func (g *gateway) ran(contents ...string) string {
	g.t.Helper()
	id := g.submit(contents...)
	if got := g.run("batch", "wait", id); got.code == 1 {
		g.t.Fatal(got.error)
	}
	return id
}
