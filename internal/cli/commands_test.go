package cli

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/klauspost/compress/zstd"
)

// A batch from its file to its results, and everything a user does with it.
func TestBatchCommands(t *testing.T) {
	url, open := gateway(t)
	open()
	in := file(t, "in.jsonl", line("a", "x")+line("b", "y"))
	out := filepath.Join(t.TempDir(), "out.jsonl")
	at(t, url, "batch", "submit", in, "--output", out, "--metadata", "team=tide").want(t, 0, "completed", "2 completed, 0 failed", "team=tide", "wrote "+out)
	results, err := os.ReadFile(out)
	if err != nil || strings.Count(string(results), "\n") != 2 || !strings.Contains(string(results), `"custom_id":"a"`) {
		t.Fatalf("%s, %v", results, err)
	}
	if left, err := os.ReadDir(filepath.Dir(out)); err != nil || len(left) != 1 {
		t.Errorf("beside the results: %v, %v", left, err)
	}
	id := strings.TrimSpace(at(t, url, "batch", "submit", in).want(t, 0, "batch_").out)
	at(t, url, "batch", "wait", id).want(t, 0, id+" completed")
	at(t, url, "batch", "show", id).want(t, 0, id, "lines", "2: 2 completed, 0 failed", "/v1/chat/completions")
	at(t, url, "batch", "list").want(t, 0, "STATUS", id, "completed")
	if s := at(t, url, "batch", "list", "--limit", "1").want(t, 0); strings.Count(s.out, "batch_") != 1 {
		t.Errorf("one of them: %s", s.out)
	}
	if s := at(t, url, "batch", "list", "--status", "failed").want(t, 0); strings.Contains(s.out, "batch_") {
		t.Errorf("failed ones: %s", s.out)
	}
	if s := at(t, url, "batch", "results", id).want(t, 0); s.out != string(results) && strings.Count(s.out, "\n") != 2 {
		t.Errorf("results: %s", s.out)
	}
	var b struct{ ID, Status string }
	if s := at(t, url, "batch", "show", id, "--json").want(t, 0); json.Unmarshal([]byte(s.out), &b) != nil || b.ID != id || b.Status != "completed" {
		t.Errorf("as JSON: %s", s.out)
	}
	for l := range strings.Lines(at(t, url, "batch", "list", "--json").want(t, 0).out) {
		if json.Unmarshal([]byte(l), &b) != nil || b.Status != "completed" {
			t.Errorf("as JSON: %s", l)
		}
	}
	at(t, url, "batch", "cancel", id).want(t, 1, "completed")
	at(t, url, "batch", "delete", id).want(t, 1, "not confirmed")
	at(t, url, "batch", "delete", id, "--yes").want(t, 0, "deleted "+id)
	at(t, url, "batch", "show", id).want(t, 1, "404")
	at(t, url, "batch", "delete", "--all", "--yes", "--input").want(t, 0, "deleted batch_")
	if s := at(t, url, "batch", "list").want(t, 0); strings.Contains(s.out, "batch_") {
		t.Errorf("left: %s", s.out)
	}
	at(t, url, "batch", "delete", "--all").want(t, 0) // nothing to ask for
}

// The status says whether every line has completed.
func TestExitCodes(t *testing.T) {
	url, open := gateway(t)
	open()
	out := filepath.Join(t.TempDir(), "out.jsonl")
	in := file(t, "in.jsonl", line("a", "x")+line("b", "refuse"))
	at(t, url, "batch", "submit", in, "--output", out).want(t, ExitIncomplete, "1 of 2 lines completed, 1 failed")
	errs, err := os.ReadFile(strings.TrimSuffix(out, ".jsonl") + ".errors.jsonl")
	if err != nil || !strings.Contains(string(errs), "refused") {
		t.Errorf("%s, %v", errs, err)
	}
	bad := file(t, "bad.jsonl", strings.Replace(line("a", "x"), `"POST"`, `"PUT"`, 1))
	s := at(t, url, "batch", "submit", bad, "--wait").want(t, ExitIncomplete, "failed", "line 1")
	id := strings.Fields(s.out[strings.Index(s.out, "batch_"):])[0]
	at(t, url, "batch", "wait", id).want(t, ExitIncomplete, "is failed")
	at(t, url, "batch", "wait", "batch_nope").want(t, 1, "404")
	at(t, url, "batch", "submit", file(t, "empty.jsonl", "")).want(t, 1, "give --endpoint")
	at(t, url, "batch", "submit", file(t, "no.jsonl", "{}\n")).want(t, 1, "line 1 names no url")
	at(t, url, "batch", "submit", file(t, "no.jsonl", "{}\n"), "--endpoint", "/v1/nope").want(t, 1, "/v1/nope")
	at(t, url, "batch", "submit", "/does/not/exist").want(t, 1, "/does/not/exist")
	at(t, url, "batch", "submit", t.TempDir()).want(t, 1, "is a directory")
	at(t, url, "batch", "submit", in, "--window", "3s").want(t, 1, "completion_window")
}

// Input comes from pipes and compressed files as well, with nothing lost of it.
func TestInputs(t *testing.T) {
	url, open := gateway(t)
	open()
	plain := line("a", strings.Repeat("x", 100_000)) + line("b", "y")
	var zipped, packed bytes.Buffer
	gz := gzip.NewWriter(&zipped)
	zs, err := zstd.NewWriter(&packed)
	if err != nil {
		t.Fatal(err)
	}
	for _, w := range []interface {
		Write([]byte) (int, error)
		Close() error
	}{gz, zs} {
		if _, err := w.Write([]byte(plain)); err != nil || w.Close() != nil {
			t.Fatal(err)
		}
	}
	run(t.Context(), plain, "batch", "submit", "-", "--wait", "--server", url).want(t, 0, "2 completed")
	at(t, url, "batch", "submit", file(t, "in.jsonl.gz", zipped.String()), "--wait").want(t, 0, "2 completed")
	at(t, url, "batch", "submit", file(t, "in.jsonl.zst", packed.String()), "--wait").want(t, 0, "2 completed")
	at(t, url, "batch", "submit", file(t, "in.zip", "PK\x03\x04")).want(t, 1, "zip archive; give --endpoint")
	at(t, url, "batch", "submit", file(t, "cut.gz", zipped.String()[:9])).want(t, 1, "give --endpoint")
}

func TestFilesCommands(t *testing.T) {
	url, _ := gateway(t)
	in := file(t, `odd "name" ü.jsonl`, line("a", "x"))
	id := strings.TrimSpace(at(t, url, "files", "upload", in).want(t, 0, "file-").out)
	other := strings.TrimSpace(at(t, url, "files", "upload", file(t, "notes.txt", "words"), "--purpose", "user_data").want(t, 0).out)
	at(t, url, "files", "list").want(t, 0, id, other, "ü.jsonl", "notes.txt")
	if s := at(t, url, "files", "list", "--purpose", "user_data").want(t, 0, other); strings.Contains(s.out, id) {
		t.Errorf("more than asked for: %s", s.out)
	}
	if s := at(t, url, "files", "download", id).want(t, 0); s.out != line("a", "x") {
		t.Errorf("downloaded %q", s.out)
	}
	out := filepath.Join(t.TempDir(), "copy")
	at(t, url, "files", "download", other, "--output", out).want(t, 0)
	if text, err := os.ReadFile(out); err != nil || string(text) != "words" {
		t.Errorf("%q, %v", text, err)
	}
	at(t, url, "files", "download", "file-nope", "--output", out+"2").want(t, 1, "404")
	if left, err := os.ReadDir(filepath.Dir(out)); err != nil || len(left) != 1 {
		t.Errorf("beside the copy: %v, %v", left, err)
	}
	at(t, url, "files", "download", id, "--output", "/does/not/exist").want(t, 1, "/does/not/exist")
	at(t, url, "files", "upload", in, "--purpose", "nope").want(t, 1, "purpose")
	run(t.Context(), "n\n", "files", "delete", id, "--server", url).want(t, 1, "Delete 1 files?", "not confirmed")
	run(t.Context(), "yes\n", "files", "delete", id, "--server", url).want(t, 0, "deleted "+id)
	// One that is not there keeps nobody from the others.
	at(t, url, "files", "delete", "file-nope", other, "--yes").want(t, 1, "deleting file-nope", "deleted "+other)
	at(t, url, "files", "delete", "--all", "--yes").want(t, 0)
}

func TestFlagsAreChecked(t *testing.T) {
	url, _ := gateway(t)
	for _, args := range [][]string{
		{"batch", "list", "--status", "done"},
		{"batch", "list", "--limit", "-1"},
		{"files", "list", "--purpose", "bach"},
		{"files", "list", "--limit", "-1"},
		{"batch", "delete"},
		{"batch", "delete", "--all", "batch_x"},
		{"files", "delete"},
		{"files", "delete", "--all", "file-x"},
		{"batch", "submit"},
		{"batch", "wait"},
	} {
		if s := at(t, url, args...); s.code != 1 || s.err == "" {
			t.Errorf("%v: ended with %d: %s", args, s.code, s.err)
		}
	}
	run(t.Context(), "", "batch", "list", "--server", "gateway:8080").want(t, 1, "must begin with http://")
}

// Whoever does not want to wait is told how to wait again.
func TestInterrupted(t *testing.T) {
	url, open := gateway(t)
	in := file(t, "in.jsonl", line("a", "x"))
	id := strings.TrimSpace(at(t, url, "batch", "submit", in).want(t, 0).out)
	ctx, interrupt := context.WithCancel(t.Context())
	ended := make(chan said)
	go func() { ended <- run(ctx, "", "batch", "wait", id, "--server", url) }()
	until(t, "it runs", func() bool {
		return strings.Contains(at(t, url, "batch", "show", id).out, "in_progress")
	})
	interrupt()
	(<-ended).want(t, exitInterrupted, "tidegate batch wait "+id)
	at(t, url, "batch", "results", id).want(t, 1, "no results yet")
	// What runs is cancelled before it is deleted.
	at(t, url, "batch", "delete", id, "--yes").want(t, 1, "deleting "+id)
	at(t, url, "batch", "delete", "--all", "--yes").want(t, 0, "deleted "+id)
	open()
}

// The server may be named in every usual way, and in the environment.
func TestServerNames(t *testing.T) {
	url, _ := gateway(t)
	for _, server := range []string{url, url + "/", url + "/v1", url + "/v1/"} {
		run(t.Context(), "", "batch", "list", "--server", server).want(t, 0, "STATUS")
	}
	t.Setenv("TIDEGATE_SERVER", url)
	run(t.Context(), "", "batch", "list").want(t, 0, "STATUS")
	run(t.Context(), "", "batch", "list", "--server", "http://127.0.0.1:1").want(t, 1, "is the gateway running")
}

func TestSimFlags(t *testing.T) {
	for word, args := range map[string][]string{
		"--fault nope=1": {"--fault", "nope=1"},
		"--fault cut=2":  {"--fault", "cut=2"},
		"--listen":       {"--listen", "256.0.0.1:1"},
	} {
		run(t.Context(), "", append([]string{"sim"}, args...)...).want(t, 1, word)
	}
	ctx, stop := context.WithCancel(t.Context())
	stop()
	run(ctx, "", "sim", "--listen", "127.0.0.1:0", "--model", "m").want(t, 0)
}

func TestDemoInput(t *testing.T) {
	input, models, err := demoInput("")
	if err != nil || len(models) != 1 || len(input) == 0 {
		t.Fatalf("the sample: %v, %v", models, err)
	}
	if url, err := firstURL(bytes.NewReader(input)); err != nil || url != "/v1/chat/completions" {
		t.Errorf("%s, %v", url, err)
	}
	two := line("a", "x") + strings.Replace(line("b", "y"), `"model":"m"`, `"model":"n"`, 1)
	if _, models, err := demoInput(file(t, "in", two)); err != nil || strings.Join(models, " ") != "m n" {
		t.Errorf("%v, %v", models, err)
	}
	for _, bad := range []string{"", "\n\n", "no JSON\n", "{}\n"} {
		if _, _, err := demoInput(file(t, "in", bad)); err == nil {
			t.Errorf("%q was taken", bad)
		}
	}
}
