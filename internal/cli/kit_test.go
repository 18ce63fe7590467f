package cli

import (
	"bytes"
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/spf13/cobra"
	"go.uber.org/goleak"
	"go.uber.org/zap"

	"github.com/tidegate/tidegate/batch"
	"github.com/tidegate/tidegate/batch/files/local"
	"github.com/tidegate/tidegate/batch/httpapi"
	"github.com/tidegate/tidegate/batch/queue/memory"
	"github.com/tidegate/tidegate/batch/store/sqlite"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m,
		// The signals of a command are heard until its program ends.
		goleak.IgnoreAnyFunction("os/signal.NotifyContext.func1"), goleak.IgnoreAnyFunction("os/signal.loop"))
}

// pool answers every line at once, or when gate is closed.
type pool struct{ gate chan struct{} }

func (pool) Freed() <-chan struct{}                       { return nil }
func (pool) Settled() bool                                { return true }
func (pool) Serves(string) (bool, []string)               { return true, nil }
func (p pool) Reserve(string, string) (batch.Slot, error) { return slot(p), nil }

type slot struct{ gate chan struct{} }

func (slot) Upstream() string { return "pool" }
func (slot) Release()         {}

func (s slot) Send(ctx context.Context, _ string, body []byte) (batch.Answer, error) {
	select {
	case <-s.gate:
	case <-ctx.Done():
		return batch.Answer{}, ctx.Err()
	}
	if bytes.Contains(body, []byte("refuse")) {
		return batch.Answer{Status: 400, Header: http.Header{}, Body: []byte(`{"error":{"message":"refused"}}`)}, nil
	}
	return batch.Answer{Status: 200, Header: http.Header{}, Body: []byte(`{"usage":{"prompt_tokens":1,"completion_tokens":2,"total_tokens":3}}`)}, nil
}

// gateway is the API of a gateway with an engine behind it.
func gateway(t *testing.T) (url string, open func()) {
	t.Helper()
	dir := t.TempDir()
	p := pool{make(chan struct{})}
	engine := batch.NewEngine(batch.Config{}, sqlite.New(sqlite.Config{Path: dir + "/db"}), memory.New(), local.New(local.Config{Dir: dir + "/files"}), p, zap.NewNop())
	if err := engine.Open(t.Context()); err != nil {
		t.Fatal(err)
	}
	engine.Start()
	srv := httptest.NewServer(httpapi.New(httpapi.Config{Files: engine.Files(batch.FileLimits{}), Batches: engine, Log: zap.NewNop()}))
	t.Cleanup(func() {
		http.DefaultClient.CloseIdleConnections()
		srv.Close()
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		if err := engine.Stop(ctx); err != nil {
			t.Error(err)
		}
	})
	return srv.URL, func() { close(p.gate) }
}

// said is what a command printed, and how it ended.
type said struct {
	out, err string
	code     int
}

// run runs a command of the program.
func run(ctx context.Context, stdin string, args ...string) said {
	root := &cobra.Command{Use: "tidegate", SilenceErrors: true}
	for name, set := range map[string]func(*cobra.Command){"batch": BatchCommand, "files": FilesCommand, "sim": SimCommand} {
		cmd := &cobra.Command{Use: name}
		set(cmd)
		root.AddCommand(cmd)
	}
	var out, errs bytes.Buffer
	root.SetOut(&out)
	root.SetErr(&errs)
	root.SetIn(strings.NewReader(stdin))
	root.SetArgs(args)
	s := said{}
	if err := root.ExecuteContext(ctx); err != nil {
		s.code = 1
		if exit, ok := errors.AsType[*ExitError](err); ok {
			s.code = exit.Code
		}
		errs.WriteString(err.Error())
	}
	s.out, s.err = out.String(), errs.String()
	return s
}

// at runs a command against a gateway.
func at(t *testing.T, url string, args ...string) said {
	t.Helper()
	return run(t.Context(), "", append(args, "--server", url)...)
}

// want fails unless the command ended with a code and printed some words.
func (s said) want(t *testing.T, code int, words ...string) said {
	t.Helper()
	if s.code != code {
		t.Fatalf("ended with %d, want %d: %s%s", s.code, code, s.out, s.err)
	}
	for _, w := range words {
		if !strings.Contains(s.out+s.err, w) {
			t.Errorf("does not say %q: %s%s", w, s.out, s.err)
		}
	}
	return s
}

func line(id, prompt string) string {
	return `{"custom_id":"` + id + `","method":"POST","url":"/v1/chat/completions","body":{"model":"m","messages":[{"role":"user","content":"` + prompt + `"}]}}` + "\n"
}

// file writes a file of the test.
func file(t *testing.T, name, content string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// until polls for what the engine does.
func until(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); !ok(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("never happened: %s", what)
		}
	}
}
