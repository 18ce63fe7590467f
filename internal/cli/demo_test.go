package cli

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// demo runs the demo on g in place of a gateway that it starts.
func (g *gateway) demo(ctx context.Context, cfg DemoConfig) (out string, err error) {
	g.t.Helper()
	var stdout bytes.Buffer
	if cfg.Stdout == nil {
		cfg.Stdout = &stdout
	}
	cfg.Stderr = io.Discard
	cfg.StartGateway = func(o GatewayOptions) (string, error) {
		if len(o.Upstreams) != demoServers || o.Listen != cfg.Listen || o.DataDir == "" || o.MaxNumSeqs != demoSeqs {
			g.t.Errorf("%+v", o)
		}
		for _, url := range o.Upstreams {
			answer, err := http.Get(url + "/v1/models")
			if err != nil {
				g.t.Error(err)
				continue
			}
			text, err := io.ReadAll(answer.Body)
			answer.Body.Close()
			if err != nil || !strings.Contains(string(text), `"id":"`) {
				g.t.Errorf("%s, %v", text, err)
			}
		}
		http.DefaultClient.CloseIdleConnections()
		return g.URL, nil
	}
	err = Demo(ctx, cfg)
	return stdout.String(), err
}

func TestDemo(t *testing.T) {
	g := newGateway(t)
	dir := filepath.Join(t.TempDir(), "made")
	out, err := g.demo(t.Context(), DemoConfig{Once: true, DataDir: dir, Listen: "127.0.0.1:1"})
	if err != nil {
		t.Fatal(err)
	}
	lines := bytes.Count(sample, []byte("\n"))
	if got := customIDs(t, read(t, filepath.Join(dir, "results.jsonl"))); len(got) != lines || !slices.IsSorted(got) {
		t.Errorf("%d results of %d", len(got), lines)
	}
	if !strings.Contains(out, "4 simulated servers of ") || !strings.Contains(out, "gateway on "+g.URL+", data in "+dir) || !strings.Contains(out, "completed") {
		t.Errorf("printed\n%s", out)
	}
	if strings.Contains(out, "Ctrl-C") {
		t.Error("demo has ended, want it to run until Ctrl-C")
	}
}

func TestDemoIncomplete(t *testing.T) {
	g := newGateway(t)
	output := filepath.Join(t.TempDir(), "out.jsonl")
	cfg := DemoConfig{Once: true, DataDir: t.TempDir(), Input: write(t, "in.jsonl", requests("a", "refuse")), Output: output}
	_, err := g.demo(t.Context(), cfg)
	if exit, ok := errors.AsType[*ExitError](err); !ok || exit.Code != ExitIncomplete {
		t.Errorf("got %v", err)
	}
	if got := customIDs(t, read(t, output)); len(got) != 1 {
		t.Errorf("results %q", got)
	}
	// Without Once it runs until Ctrl-C.
	ctx, cancel := context.WithCancel(t.Context())
	var stdout watchedWriter
	stdout.word, stdout.seen = "Ctrl-C ends the demo.", cancel
	cfg.Once, cfg.Stdout = false, &stdout
	if _, err := g.demo(ctx, cfg); err != nil {
		t.Errorf("got %v", err)
	}
	for _, hint := range []string{"The results are in " + output, "curl " + g.URL + "/v1/chat/completions", `"model": "m"`} {
		if !strings.Contains(stdout.String(), hint) {
			t.Errorf("no %q in\n%s", hint, stdout.String())
		}
	}
}

// watchedWriter signals when a word has been written.
type watchedWriter struct {
	bytes.Buffer
	word string
	seen func()
}

func (w *watchedWriter) Write(p []byte) (int, error) {
	n, err := w.Buffer.Write(p)
	if strings.Contains(w.String(), w.word) {
		w.seen()
	}
	return n, err
}

func TestDemoInterrupted(t *testing.T) {
	g := newGateway(t)
	defer g.release()
	ctx, cancel := context.WithCancel(t.Context())
	looks := g.looked()
	go func() { <-looks; cancel() }()
	_, err := g.demo(ctx, DemoConfig{DataDir: t.TempDir(), Input: write(t, "in.jsonl", requests("hold"))})
	if exit, ok := errors.AsType[*ExitError](err); !ok || exit.Code != ExitInterrupted || err.Error() != "interrupted" {
		t.Errorf("got %v", err)
	}
}

func TestDemoMistakes(t *testing.T) {
	dir := t.TempDir()
	_, all := packed(t)
	for name, tt := range map[string]struct {
		input, output, data string
		say                 string
	}{
		"no file":     {input: filepath.Join(dir, "none"), say: "no such file"},
		"directory":   {input: dir, say: "is a directory"},
		"empty":       {input: write(t, "e", ""), say: "reading the requests in e: there is no request in it"},
		"no JSON":     {input: write(t, "e", "x\n"), say: "line 1 is no request"},
		"no url":      {input: write(t, "e", "\n{}\n"), say: "line 2 names no url"},
		"no model":    {input: write(t, "e", `{"url":"/v1/embeddings","body":{}}`), say: "no line names a model"},
		"cut":         {input: write(t, "e", string(all[".gz"][:30])), say: "unexpected EOF"},
		"archive":     {input: write(t, "e", string(all[".zip"])), say: "an archive cannot be read"},
		"data a file": {data: write(t, "e", ""), say: "making the data directory"},
		"no output":   {output: filepath.Join(dir, "no", "o"), say: "cannot be written"},
	} {
		t.Run(name, func(t *testing.T) {
			cfg := DemoConfig{Input: tt.input, Output: tt.output, DataDir: tt.data, Stdout: io.Discard, Stderr: io.Discard, StartGateway: func(GatewayOptions) (string, error) {
				t.Error("gateway was started for invalid input")
				return "", nil
			}}
			if cfg.DataDir == "" {
				cfg.DataDir = dir
			}
			if err := Demo(t.Context(), cfg); err == nil || !strings.Contains(err.Error(), tt.say) {
				t.Errorf("got %v, want %q", err, tt.say)
			}
		})
	}
	err := Demo(t.Context(), DemoConfig{DataDir: dir, Stdout: io.Discard, Stderr: io.Discard, StartGateway: func(GatewayOptions) (string, error) { return "", os.ErrPermission }})
	if !errors.Is(err, os.ErrPermission) || !strings.Contains(err.Error(), "starting the gateway") {
		t.Errorf("got %v", err)
	}
}

func TestDemoInputThatIsPacked(t *testing.T) {
	_, all := packed(t)
	in, err := readDemoInput(write(t, "in.jsonl", string(all[".zst"])))
	if err != nil || in.name != "in.jsonl.zst" || in.endpoint != "/v1/chat/completions" || !slices.Equal(in.models, []string{"m"}) || !bytes.Equal(in.content, all[".zst"]) {
		t.Errorf("%q, %q, %q, %v", in.name, in.endpoint, in.models, err)
	}
	models, err := modelsOf([]byte("{\"body\":{\"model\":\"b\"}}\nnonsense\n{\"body\":{\"model\":\"a\"}}\n{\"body\":{\"model\":\"b\"}}"))
	if err != nil || !slices.Equal(models, []string{"a", "b"}) {
		t.Errorf("%q, %v", models, err)
	}
}

// TestRepeatLines checks that repeated lines have unique custom_ids and unchanged requests.
func TestRepeatLines(t *testing.T) {
	n := bytes.Count(sample, []byte("\n"))
	lines := bytes.Split(bytes.TrimSpace(repeatLines(sample, 2*n+1)), []byte("\n"))
	if len(lines) != 2*n+1 {
		t.Fatalf("got %d lines, want %d", len(lines), 2*n+1)
	}
	seen := make(map[string]bool)
	for i, id := range customIDs(t, string(bytes.Join(lines, []byte("\n")))) {
		if seen[id] {
			t.Errorf("line %d: custom_id %q again", i+1, id)
		}
		seen[id] = true
	}
	body := func(line []byte) string {
		_, rest, _ := strings.Cut(string(line), `"body"`)
		return rest
	}
	if got, want := body(lines[n]), body(lines[0]); got != want {
		t.Errorf("line %d: got %s, want %s", n+1, got, want)
	}
}

// TestLiveLoad checks that live users get responses during the batch, and that they end
// with the demo.
func TestLiveLoad(t *testing.T) {
	answered := make(chan struct{}, 1)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/v1/chat/completions" || r.Header.Get("Content-Type") != "application/json" {
			t.Errorf("got %s with %q", r.URL.Path, r.Header.Get("Content-Type"))
		}
		_, _ = io.WriteString(w, "data: [DONE]\n\n")
		select {
		case answered <- struct{}{}:
		default:
		}
	}))
	defer server.Close()
	l := startLive(t.Context(), server.URL, "m")
	<-answered
	l.stop()
	if got := l.summary(); !strings.HasPrefix(got, "live beside it: ") || !strings.Contains(got, " 0 failed") {
		t.Errorf("summary %q, want no failures", got)
	}
}
