package atomicfile

import (
	"io/fs"
	"os"
	"path/filepath"
	"testing"
)

func TestWrite(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "made")
	path := filepath.Join(dir, "file")
	for _, want := range []string{"one", "", "three"} {
		if err := Write(path, []byte(want)); err != nil {
			t.Fatal(err)
		}
		got, err := os.ReadFile(path)
		if err != nil || string(got) != want {
			t.Errorf("got %q, %v, want %q", got, err, want)
		}
	}
	info, err := os.Stat(path)
	if err != nil || info.Mode() != 0o600 {
		t.Errorf("got mode %v, %v, want 0600", info.Mode(), err)
	}
	checkFiles(t, dir, "file")
}

// A write that fails leaves the file as it was, and nothing else.
func TestFailedWrite(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "file")
	if err := os.Mkdir(path, 0o700); err != nil { // cannot be replaced by a file
		t.Fatal(err)
	}
	if err := Write(path, []byte("x")); err == nil {
		t.Error("got no error, want one")
	}
	checkFiles(t, dir, "file")
}

func checkFiles(t *testing.T, dir, want string) {
	t.Helper()
	files, err := fs.Glob(os.DirFS(dir), "*")
	if err != nil || len(files) != 1 || files[0] != want {
		t.Errorf("got files %q, %v, want %q alone", files, err, want)
	}
}
