package cli

import (
	"archive/zip"
	"bytes"
	"compress/gzip"
	"encoding/base64"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"testing/iotest"

	"github.com/klauspost/compress/zstd"

	"github.com/tidegate/tidegate/internal/openai"
)

// packed are the same requests in every packing.
func packed(t *testing.T) (plainText string, all map[string][]byte) {
	t.Helper()
	plainText = strings.Repeat("\n", 3) + requests("a", "b", "c")
	all = map[string][]byte{"": []byte(plainText)}

	var gz bytes.Buffer
	w := gzip.NewWriter(&gz)
	_, err := io.WriteString(w, plainText)
	if err != nil || w.Close() != nil {
		t.Fatal(err)
	}
	all[".gz"] = gz.Bytes()

	encoder, err := zstd.NewWriter(nil)
	if err != nil {
		t.Fatal(err)
	}
	all[".zst"] = encoder.EncodeAll([]byte(plainText), nil)
	if err := encoder.Close(); err != nil {
		t.Fatal(err)
	}

	var archive bytes.Buffer
	z := zip.NewWriter(&archive)
	entry, err := z.Create("in.jsonl")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(entry, plainText); err != nil || z.Close() != nil {
		t.Fatal(err)
	}
	all[".zip"] = archive.Bytes()

	// The standard library cannot write bzip2. This is one request.
	if all[".bz2"], err = base64.StdEncoding.DecodeString(bzipped); err != nil {
		t.Fatal(err)
	}
	return plainText, all
}

const bzipped = "QlpoOTFBWSZTWTO6NXwAAEFfgAAQEAbwEAAAzAq+5986IABkNU/SiejU9NR6npGyJo2pvU1CmmiPUGgwjTIAZXffZsH7ToU1arOx" +
	"NUCBAUyhYL8nWx5W0ASMpuz9eKXjQELwRms4tVwZ+VnFyVpq+UAhsMDcYv5w6vwIKKdrRYlADmAmSoxOcv7X+BToLuSKcKEgZ3Rq" +
	"+A=="

// TestSubmitFromAnywhere checks that submit works with every kind of input and
// compression, and that reading the endpoint does not lose content.
func TestSubmitFromAnywhere(t *testing.T) {
	g := newGateway(t)
	plainText, all := packed(t)
	for ext, content := range all {
		for from, pipe := range map[string]func(t *testing.T) (io.Reader, string){
			"file":               func(t *testing.T) (io.Reader, string) { return nil, write(t, "in.jsonl"+ext, string(content)) },
			"file with no name":  func(t *testing.T) (io.Reader, string) { return nil, write(t, "in", string(content)) },
			"stream":             func(*testing.T) (io.Reader, string) { return bytes.NewReader(content), "-" },
			"byte after byte":    func(*testing.T) (io.Reader, string) { return iotest.OneByteReader(bytes.NewReader(content)), "-" },
			"end with last byte": func(*testing.T) (io.Reader, string) { return iotest.DataErrReader(bytes.NewReader(content)), "-" },
			"redirected file":    func(t *testing.T) (io.Reader, string) { return opened(t, string(content), 0), "-" },
			"rest of a file": func(t *testing.T) (io.Reader, string) {
				return opened(t, "a line that was read before\n"+string(content), 28), "-"
			},
			"named pipe": func(t *testing.T) (io.Reader, string) { return nil, fifo(t, content) },
			"pipe":       func(t *testing.T) (io.Reader, string) { return piped(t, content), "-" },
		} {
			t.Run(ext+" "+from, func(t *testing.T) {
				in, path := pipe(t)
				args := []string{"batch", "submit", path}
				if ext == ".zip" {
					args = append(args, "--endpoint", "/v1/chat/completions")
				}
				got := g.pipe(in, args...)
				b, err := g.session().Batch(t.Context(), got.id(t))
				if err != nil || b.Endpoint != "/v1/chat/completions" {
					t.Fatalf("%+v, %v", b, err)
				}
				var back bytes.Buffer
				if _, err := g.session().Download(t.Context(), b.InputFileID, &back); err != nil {
					t.Fatal(err)
				}
				want := plainText
				if ext == ".bz2" {
					want = requests("bzip2")
				}
				if back.String() != want {
					t.Errorf("uploaded %q\nwant %q", back.String(), want)
				}
			})
		}
	}
	// The endpoint of the archive's entry is not detected.
	g.pipe(bytes.NewReader(all[".zip"]), "batch", "submit", "-").want(t, 1, "standard input is a zip archive: give --endpoint")
}

// opened is a file that was read up to an offset.
func opened(t *testing.T, text string, offset int64) *os.File {
	t.Helper()
	f, err := os.Open(write(t, "redirected", text))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := f.Close(); err != nil {
			t.Error(err)
		}
	})
	if _, err := f.Seek(offset, io.SeekStart); err != nil {
		t.Fatal(err)
	}
	return f
}

// piped is the reading end of a pipe into which content is written.
func piped(t *testing.T, content []byte) *os.File {
	t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	feed(t, func() (io.WriteCloser, error) { return w, nil }, content)
	t.Cleanup(func() {
		if err := r.Close(); err != nil {
			t.Error(err)
		}
	})
	return r
}

// fifo is the path of a named pipe, as a shell makes for <(command).
func fifo(t *testing.T, content []byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "fifo")
	if err := syscall.Mkfifo(path, 0o600); err != nil {
		t.Fatal(err)
	}
	feed(t, func() (io.WriteCloser, error) { return os.OpenFile(path, os.O_WRONLY, 0) }, content)
	return path
}

func feed(t *testing.T, open func() (io.WriteCloser, error), content []byte) {
	t.Helper()
	done := make(chan struct{})
	go func() {
		defer close(done)
		w, err := open()
		if err != nil {
			t.Error(err)
			return
		}
		if _, err := w.Write(content); err != nil {
			t.Error(err)
		}
		if err := w.Close(); err != nil {
			t.Error(err)
		}
	}()
	t.Cleanup(func() { <-done })
}

func TestFirstLineThatIsLong(t *testing.T) {
	text := strings.Replace(requests("x"), `"x"`, `"`+strings.Repeat("x", 3<<20)+`"`, 1)
	for name, in := range map[string]io.Reader{
		"stream": strings.NewReader(text),
		"file":   opened(t, text, 0),
	} {
		s := &session{in: in}
		src, err := s.open(t.Context(), "-", openai.PurposeBatch)
		if err != nil {
			t.Fatal(err)
		}
		endpoint, err := src.endpoint()
		if err != nil || endpoint != "/v1/chat/completions" {
			t.Errorf("%s: %q, %v", name, endpoint, err)
		}
		var all bytes.Buffer
		if err := src.peek(func(r io.Reader) error { _, err := all.ReadFrom(r); return err }); err != nil || all.String() != text {
			t.Errorf("%s: %d bytes of %d left, %v", name, all.Len(), len(text), err)
		}
	}
}

func TestSourceThatCannotBeRead(t *testing.T) {
	s := &session{in: iotest.ErrReader(os.ErrPermission)}
	if _, err := s.open(t.Context(), "-", openai.PurposeBatch); err == nil || !strings.Contains(err.Error(), "reading standard input: permission denied") {
		t.Errorf("got %v", err)
	}
	// Standard input is not closed: open did not open it.
	s.in = opened(t, "x", 0)
	src, err := s.open(t.Context(), "-", "user_data")
	if err != nil || src.Size != 1 {
		t.Fatalf("%+v, %v", src, err)
	}
	if n, err := s.in.Read(make([]byte, 1)); n != 1 || err != nil || src.close() != nil {
		t.Errorf("%d, %v", n, err)
	}
	if _, err := s.open(t.Context(), t.TempDir(), openai.PurposeBatch); err == nil || !strings.Contains(err.Error(), "is a directory") {
		t.Errorf("got %v", err)
	}
}

func TestNamesOfPackedFiles(t *testing.T) {
	gz := packings[0]
	for name, want := range map[string]string{"a.jsonl": "a.jsonl.gz", "a.jsonl.gz": "a.jsonl.gz", "A.GZ": "A.GZ", "a.zst": "a.zst.gz", "a": "a.gz"} {
		if got := gz.rename(name); got != want {
			t.Errorf("%s: %s, want %s", name, got, want)
		}
	}
	for head, want := range map[string]string{"": "", "{\"cu": "", "\x1f": "", "BZ": "", "\x1f\x8b": "gzip", "PK\x03\x04": "zip"} {
		if got := packingOf([]byte(head)).name; got != want {
			t.Errorf("%q is %q, want %q", head, got, want)
		}
	}
}
