package cli

import (
	"bytes"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/tidegate/tidegate/internal/openai"
)

func TestFiles(t *testing.T) {
	g := newGateway(t)
	text := requests("a", "b")
	in, other := write(t, "in.jsonl", text), write(t, "other \"one\".txt", "hello")

	got := g.run("files", "upload", in, filepath.Join(t.TempDir(), "none"), in).want(t, 1, "1 of 3 failed")
	ids := strings.Fields(got.out)
	if len(ids) != 2 || !strings.Contains(got.err, "no such file") {
		t.Fatalf("printed %q, said %q", got.out, got.err)
	}
	f := jsonOf[openai.File](t, g.run("files", "upload", other, "--purpose", "user_data", "--json").want(t, 0).out)
	if f.Filename != `other "one".txt` || f.Bytes != 5 || f.Purpose != "user_data" {
		t.Errorf("%+v", f)
	}
	g.run("files", "upload", in, "--purpose", "batches").want(t, 1, `--purpose "batches" must be one of assistants, batch, `)
	g.run("files", "upload", in, "--purpose", "batch_output").want(t, 1, "must be one of")
	g.run("files", "upload").want(t, 1, "requires at least 1 arg")
	g.run("files", "upload", write(t, "x.jsonl", "no JSON")).want(t, 1, "uploading ", "Must be .jsonl")

	listed := g.run("files", "list").want(t, 0).out
	lines := strings.Split(strings.TrimSpace(listed), "\n")
	if len(lines) != 4 || !strings.HasPrefix(lines[0], "ID") || !strings.Contains(lines[1], "user_data") || !strings.Contains(lines[1], "5 B") || !strings.HasSuffix(lines[1], `"other \"one\".txt"`) {
		t.Errorf("listed\n%s", listed)
	}
	if got := g.run("files", "list", "--purpose", "batch", "--limit", "1", "--json").want(t, 0); jsonOf[openai.File](t, got.out).ID != ids[1] {
		t.Errorf("listed %s", got.out)
	}
	if got := g.run("files", "list", "--purpose", "batch_output", "--json").want(t, 0); got.out != "" {
		t.Errorf("listed %s", got.out)
	}
	g.run("files", "list", "--purpose", "bach").want(t, 1, `--purpose "bach" must be one of assistants, batch, fine-tune, vision, user_data, evals, batch_output`)
	g.run("files", "list", "--limit", "-3").want(t, 1, "--limit -3")

	if got := g.run("files", "download", ids[0]).want(t, 0); got.out != text {
		t.Errorf("downloaded %q", got.out)
	}
	output := filepath.Join(t.TempDir(), "out")
	g.run("files", "download", ids[0], "--output", output).want(t, 0)
	if read(t, output) != text {
		t.Errorf("downloaded %q", read(t, output))
	}
	g.run("files", "download", "file-none", "--output", output).want(t, 1, "No such File object: file-none (404, id)")
	if read(t, output) != text {
		t.Error("a download that failed has overwritten a file")
	}
	g.run("files", "download", ids[0], "--output", t.TempDir()).want(t, 1, "is a directory")

	if got := g.run("files", "delete", ids[0], "--yes").want(t, 0); got.out != "deleted "+ids[0]+"\n" {
		t.Errorf("printed %q", got.out)
	}
	g.run("files", "delete", ids[0], "--yes").want(t, 1, "deleting "+ids[0], "404")
	got = g.pipe(strings.NewReader("YES\n"), "files", "delete", "--all").want(t, 0)
	if strings.Count(got.out, "deleted file-") != 2 || !strings.Contains(got.err, "Delete 2 files?") {
		t.Errorf("printed %q, said %q", got.out, got.err)
	}
	if files := g.files(); len(files) > 0 {
		t.Errorf("left %q", files)
	}
}

// TestLargeUpload checks that a large upload shows its progress and arrives unchanged.
func TestLargeUpload(t *testing.T) {
	g := newGateway(t)
	text := strings.Repeat("0123456789abcdef", 200_000)
	got := g.run("files", "upload", write(t, "large.bin", text), "--purpose", "user_data").want(t, 0)
	if !strings.Contains(got.err, "uploading large.bin ") || !strings.Contains(got.err, "/3.2 MB") {
		t.Errorf("said %q", got.err)
	}
	var back bytes.Buffer
	if _, err := g.session().Download(t.Context(), strings.TrimSpace(got.out), &back); err != nil || back.String() != text {
		t.Errorf("%d bytes, %v", back.Len(), err)
	}
	got = g.pipe(io.MultiReader(strings.NewReader(text)), "files", "upload", "-", "--purpose", "user_data").want(t, 0)
	if !strings.Contains(got.err, "uploading stdin.jsonl 1.") {
		t.Errorf("said %q", got.err)
	}
}

func TestWriteKeepsWhatTheFileIs(t *testing.T) {
	s := &session{out: io.Discard}
	hello := func(w io.Writer) error { _, err := io.WriteString(w, "hello"); return err }
	dir := t.TempDir()

	t.Run("its rights", func(t *testing.T) {
		path := filepath.Join(dir, "private")
		if err := os.WriteFile(path, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := s.write(path, hello); err != nil {
			t.Fatal(err)
		}
		if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 || read(t, path) != "hello" {
			t.Errorf("%v, %v", info.Mode(), err)
		}
	})
	t.Run("a new one like others", func(t *testing.T) {
		usual, err := os.Create(filepath.Join(dir, "usual"))
		if err != nil {
			t.Fatal(err)
		}
		want, err := usual.Stat()
		if err != nil || usual.Close() != nil {
			t.Fatal(err)
		}
		path := filepath.Join(dir, "new")
		if err := s.write(path, hello); err != nil {
			t.Fatal(err)
		}
		if info, err := os.Stat(path); err != nil || info.Mode() != want.Mode() {
			t.Errorf("%v, %v; want %v", info.Mode(), err, want.Mode())
		}
	})
	t.Run("a link", func(t *testing.T) {
		target, link := filepath.Join(dir, "target"), filepath.Join(dir, "link")
		if err := os.WriteFile(target, []byte("old"), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink(target, link); err != nil {
			t.Fatal(err)
		}
		if err := s.write(link, hello); err != nil {
			t.Fatal(err)
		}
		if info, err := os.Lstat(link); err != nil || info.Mode()&os.ModeSymlink == 0 || read(t, target) != "hello" {
			t.Errorf("%v, %v; %q", info.Mode(), err, read(t, target))
		}
	})
	t.Run("a device", func(t *testing.T) {
		if err := checkOutput(os.DevNull); err != nil {
			t.Error(err)
		}
		if err := s.write(os.DevNull, hello); err != nil {
			t.Error(err)
		}
		if info, err := os.Stat(os.DevNull); err != nil || info.Mode()&os.ModeDevice == 0 {
			t.Errorf("%v, %v", info.Mode(), err)
		}
	})
	t.Run("a directory", func(t *testing.T) {
		if err := s.write(dir, hello); err == nil {
			t.Error("written")
		}
	})
	t.Run("in no directory", func(t *testing.T) {
		if err := s.write(filepath.Join(dir, "no", "x"), hello); err == nil {
			t.Error("written")
		}
	})
	left, err := filepath.Glob(filepath.Join(dir, ".*"))
	if err != nil || len(left) > 0 {
		t.Errorf("left %q, %v", left, err)
	}
}

func TestErrorPath(t *testing.T) {
	for r, want := range map[results]string{
		{}:                                   "",
		{output: "-"}:                        "",
		{output: "-", errs: "e"}:             "e",
		{output: "out.jsonl"}:                "out.errors.jsonl",
		{output: "out"}:                      "out.errors.jsonl",
		{output: "d.x/out"}:                  "d.x/out.errors.jsonl",
		{output: "out.jsonl", errs: "e"}:     "e",
		{output: "a.errors.jsonl"}:           "a.errors.errors.jsonl",
		{output: "/t/.jsonl", errs: "-"}:     "-",
		{output: "/tmp/x.y.jsonl", errs: ""}: "/tmp/x.y.errors.jsonl",
	} {
		if got := r.errorPath(); got != want {
			t.Errorf("%+v: %q, want %q", r, got, want)
		}
	}
	if (results{output: "-", errs: "-"}).check() == nil {
		t.Error("both to standard output")
	}
}
