package local

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/tidegate/tidegate/batch"
)

// A directory of contents that cannot be written is found without a write to it.
func TestPingFindsUnwritableShard(t *testing.T) {
	f := open(t, Config{Dir: t.TempDir()})
	if err := f.Ping(t.Context()); err != nil {
		t.Fatal(err)
	}
	shard := filepath.Join(f.dir, "a7")
	if err := os.WriteFile(shard, nil, fileMode); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(shard, 0o700); err != nil { // root may then "enter" it
		t.Fatal(err)
	}
	if err := f.Ping(t.Context()); !errors.Is(err, syscall.ENOTDIR) || !strings.Contains(err.Error(), shard) {
		t.Errorf("got %v, want ENOTDIR of %s", err, shard)
	}
	if err := errors.Join(os.Remove(shard), os.Mkdir(shard, dirMode)); err != nil {
		t.Fatal(err)
	}
	if err := f.Ping(t.Context()); err != nil {
		t.Errorf("after it is a directory again: %v", err)
	}
	if os.Geteuid() == 0 {
		return // may write everywhere
	}
	if err := os.Chmod(shard, 0o500); err != nil {
		t.Fatal(err)
	}
	if err := f.Ping(t.Context()); !errors.Is(err, os.ErrPermission) || !strings.Contains(err.Error(), shard) {
		t.Errorf("got %v, want a missing permission for %s", err, shard)
	}
}

// TestOpenUnusableDirectory checks that a directory without permission is a temporary
// error, and that one that cannot be created is an error of the configuration.
func TestOpenUnusableDirectory(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, fileMode); err != nil {
		t.Fatal(err)
	}
	f := New(Config{Dir: filepath.Join(file, "files")})
	if err := f.Open(t.Context()); !errors.Is(err, syscall.ENOTDIR) || errors.Is(err, batch.ErrUnavailable) {
		t.Errorf("got %v, want ENOTDIR and not ErrUnavailable", err)
	}
	for _, cause := range []error{syscall.EACCES, syscall.EROFS} {
		if err := unusable(&os.PathError{Op: "mkdir", Path: "x", Err: cause}); !errors.Is(err, batch.ErrUnavailable) || !errors.Is(err, cause) {
			t.Errorf("got %v, want ErrUnavailable by %v", err, cause)
		}
	}
	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
	if err := f.Open(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Error(err)
	}
}
