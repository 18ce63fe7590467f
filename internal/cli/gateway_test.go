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
	"go.uber.org/zap"

	"github.com/tidegate/tidegate/batch"
	"github.com/tidegate/tidegate/batch/engine"
	"github.com/tidegate/tidegate/batch/files/local"
	"github.com/tidegate/tidegate/batch/httpapi"
	"github.com/tidegate/tidegate/batch/queue/memory"
	"github.com/tidegate/tidegate/batch/store/sqlite"
	"github.com/tidegate/tidegate/batch/upload"
	"github.com/tidegate/tidegate/internal/cli/client"
	"github.com/tidegate/tidegate/internal/openai"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// gateway is the real API and engine on the embedded drivers, without Caddy
// and with a pool that the test plays.
type gateway struct {
	*httptest.Server
	t    *testing.T
	pool *pool

	mu   sync.Mutex
	hook http.HandlerFunc // guarded by mu; called first for every request
}

// answeredByHook is the panic value of a hook that has responded.
type answeredByHook struct{}

func newGateway(t *testing.T) *gateway {
	t.Helper()
	dir := t.TempDir()
	g := &gateway{t: t, pool: &pool{freed: make(chan struct{}, 1), held: make(chan struct{})}}
	engine := engine.NewEngine(batch.Config{RetryBackoffMin: time.Millisecond, RetryBackoffMax: time.Millisecond},
		sqlite.New(sqlite.Config{Path: filepath.Join(dir, "db")}), memory.New(), local.New(local.Config{Dir: filepath.Join(dir, "files")}), g.pool, zap.NewNop())
	if err := engine.Open(t.Context()); err != nil {
		t.Fatal(err)
	}
	engine.Start()
	api := httpapi.New(httpapi.Config{Files: &upload.Service{Store: engine.Store(), Files: engine.Files()}, Batches: engine})
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
	t.Cleanup(func() {
		g.Close()
		ctx, cancel := context.WithCancel(context.Background())
		cancel() // there is no work to drain
		if err := engine.Stop(ctx); err != nil {
			t.Error(err)
		}
	})
	return g
}

// intercept calls f for every request. f panics with answeredByHook after it has responded.
func (g *gateway) intercept(f http.HandlerFunc) {
	g.mu.Lock()
	g.hook = f
	g.mu.Unlock()
}

// pool answers each request by the content of its first message: "refuse" is
// refused, "hold" waits for release, everything else is echoed.
type pool struct {
	freed, held chan struct{}
}

func (p *pool) Freed() <-chan struct{}                         { return p.freed }
func (p *pool) Up(string) error                                { return nil }
func (p *pool) Free(string) bool                               { return true }
func (p *pool) Slots() int                                     { return 1 }
func (p *pool) Serves(model string) (known, settled bool)      { return model != "unknown", true }
func (p *pool) Closest(string) []string                        { return []string{"m"} }
func (p *pool) Reserve(string, string) (batch.Slot, error)     { return slot{p}, nil }
func (p *pool) Capabilities() (c batch.DispatcherCapabilities) { return c }
func (p *pool) release()                                       { close(p.held) }

type slot struct{ *pool }

func (slot) Upstream() string { return "fake" }
func (slot) Release()         {}

func (s slot) Send(ctx context.Context, _ string, body []byte) (batch.Answer, error) {
	var request struct{ Messages []struct{ Content string } }
	if err := json.Unmarshal(body, &request); err != nil {
		return batch.Answer{}, err
	}
	content := request.Messages[0].Content
	a := batch.Answer{Status: http.StatusOK, Header: http.Header{}, Body: []byte(fmt.Sprintf(`{"echo":%q}`, content))}
	switch content {
	case "refuse":
		a.Status, a.Body = http.StatusBadRequest, []byte(`{"error":{"message":"no"}}`)
	case "hold":
		select {
		case <-s.held:
		case <-ctx.Done():
			return batch.Answer{}, ctx.Err()
		}
	}
	return a, nil
}

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
	"drain": DrainCommand, "undrain": UndrainCommand, "doctor": DoctorCommand, "sim": SimCommand, "contents": ContentsCommand,
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
