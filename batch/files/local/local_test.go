package local

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/tidegate/tidegate/batch"
	"github.com/tidegate/tidegate/batch/files/filestest"
)

func open(t *testing.T, cfg Config) *Files {
	t.Helper()
	f := New(cfg)
	if err := f.Open(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := f.Close(); err != nil {
			t.Error(err)
		}
	})
	return f
}

func TestSuite(t *testing.T) {
	filestest.Run(t, func(t *testing.T) batch.Files { return open(t, Config{Dir: t.TempDir()}) })
}

// regular lists the regular files below dir but the lock.
func regular(t *testing.T, dir string) []string {
	t.Helper()
	var found []string
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.Type().IsRegular() && d.Name() != lockName {
			found = append(found, path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}

func store(f *Files, key, content string) error {
	w, err := f.Create(context.Background(), key)
	if err != nil {
		return err
	}
	if _, err := io.WriteString(w, content); err != nil {
		return errors.Join(err, w.Abort())
	}
	return w.Commit(context.Background())
}

func TestOnlyOneLiveInstance(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "deep", "files")
	first := open(t, Config{Dir: dir})
	if err := store(first, "a", "content"); err != nil {
		t.Fatal(err)
	}
	second := New(Config{Dir: dir})
	if err := second.Open(t.Context()); err == nil || !strings.Contains(err.Error(), dir) || !strings.Contains(err.Error(), "in use") {
		t.Fatalf("second instance: got %v, want an error that names %s", err, dir)
	}
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	third := open(t, Config{Dir: dir})
	content, err := third.Read(t.Context(), "a", 0, -1)
	if err != nil {
		t.Fatal(err)
	}
	defer content.Close()
	if b, err := io.ReadAll(content); err != nil || string(b) != "content" {
		t.Fatalf("got %q, %v", b, err)
	}
}

func TestOpenRemovesLeftovers(t *testing.T) {
	dir := t.TempDir()
	f := New(Config{Dir: dir})
	if err := f.Open(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := store(f, "kept", "content"); err != nil {
		t.Fatal(err)
	}
	w, err := f.Create(t.Context(), "lost")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write(bytes.Repeat([]byte("x"), 2*writeBuffer)); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil { // as a crash would
		t.Fatal(err)
	}
	if got := regular(t, dir); len(got) != 2 {
		t.Fatalf("before: %v", got)
	}
	open(t, Config{Dir: dir})
	if got := regular(t, dir); len(got) != 1 || filepath.Base(got[0]) != "kept" {
		t.Fatalf("after: %v", got)
	}
}

func TestModes(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "files")
	f := open(t, Config{Dir: dir})
	if err := store(f, "a", "content"); err != nil {
		t.Fatal(err)
	}
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		want := fs.FileMode(fileMode)
		if d.IsDir() {
			want = dirMode
		}
		if err == nil && info.Mode().Perm() != want {
			t.Errorf("%s has mode %o, want %o", path, info.Mode().Perm(), want)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestNoDirectory(t *testing.T) {
	if err := New(Config{}).Open(t.Context()); err == nil {
		t.Error("opened without a directory")
	}
	blocked := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(blocked, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := New(Config{Dir: filepath.Join(blocked, "files")}).Open(t.Context()); err == nil {
		t.Error("opened below a file")
	}
}

// fullDisk fails one operation with ErrNoSpace.
type fullDisk struct {
	realDisk
	at   string
	err  error
	room int64 // free space, if at is "free"
}

func (d *fullDisk) fail(at string) error {
	if d.at == at {
		return &fs.PathError{Op: at, Path: "x", Err: d.err}
	}
	return nil
}

func (d *fullDisk) free(dir string) (int64, error) {
	if d.at == "free" {
		return d.room, nil
	}
	return d.realDisk.free(dir)
}

func (d *fullDisk) createTemp(dir, prefix string) (file, error) {
	if err := d.fail("create"); err != nil {
		return nil, err
	}
	f, err := d.realDisk.createTemp(dir, prefix)
	return fullFile{f, d}, err
}

func (d *fullDisk) rename(from, to string) error {
	return errors.Join(d.fail("rename"), d.realDisk.rename(from, to))
}

func (d *fullDisk) syncDir(dir string) error {
	return errors.Join(d.fail("syncDir"), d.realDisk.syncDir(dir))
}

type fullFile struct {
	file
	disk *fullDisk
}

func (f fullFile) Write(p []byte) (int, error) {
	if err := f.disk.fail("write"); err != nil {
		return 0, err
	}
	return f.file.Write(p)
}

func (f fullFile) Sync() error { return errors.Join(f.disk.fail("sync"), f.file.Sync()) }

func TestFullDisk(t *testing.T) {
	for _, cause := range []error{syscall.ENOSPC, syscall.EDQUOT} {
		for _, c := range []struct {
			at       string
			newShard bool
		}{{"create", true}, {"write", true}, {"sync", true}, {"syncDir", true}, {"syncDir", false}} {
			t.Run(fmt.Sprint(c, cause), func(t *testing.T) {
				dir := t.TempDir()
				f := open(t, Config{Dir: dir})
				if !c.newShard {
					if err := errors.Join(store(f, "a", ""), f.Delete(t.Context(), "a")); err != nil {
						t.Fatal(err)
					}
				}
				f.disk = &fullDisk{at: c.at, err: cause}
				if err := store(f, "a", strings.Repeat("x", 2*writeBuffer)); !errors.Is(err, batch.ErrNoSpace) {
					t.Errorf("got %v, want ErrNoSpace", err)
				}
				if left := regular(t, dir); len(left) > 0 {
					t.Errorf("left behind: %v", left)
				}
				f.disk = realDisk{}
				if err := store(f, "a", "small"); err != nil {
					t.Errorf("with space again: %v", err)
				}
			})
		}
	}
}

func TestRenameOnFullDisk(t *testing.T) {
	dir := t.TempDir()
	f := open(t, Config{Dir: dir})
	f.disk = renameFails{}
	if err := store(f, "a", "content"); !errors.Is(err, batch.ErrNoSpace) {
		t.Errorf("got %v, want ErrNoSpace", err)
	}
	if left := regular(t, dir); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}

type renameFails struct{ realDisk }

func (renameFails) rename(from, to string) error {
	return &os.LinkError{Op: "rename", Old: from, New: to, Err: syscall.ENOSPC}
}

func TestReserve(t *testing.T) {
	dir := t.TempDir()
	f := open(t, Config{Dir: dir, Reserve: 1000})
	disk := &fullDisk{at: "free", room: 1000 + writeBuffer}
	f.disk = disk
	if err := f.Ping(t.Context()); err != nil {
		t.Errorf("ping above the reserve: %v", err)
	}
	if err := store(f, "fits", strings.Repeat("x", writeBuffer)); err != nil {
		t.Errorf("content that fits: %v", err)
	}
	disk.room--
	if err := store(f, "large", strings.Repeat("x", writeBuffer)); !errors.Is(err, batch.ErrNoSpace) {
		t.Errorf("into the reserve: got %v, want ErrNoSpace", err)
	}
	disk.room = 999
	if err := f.Ping(t.Context()); !errors.Is(err, batch.ErrNoSpace) {
		t.Errorf("ping below the reserve: got %v, want ErrNoSpace", err)
	}
	if _, err := f.Create(t.Context(), "b"); !errors.Is(err, batch.ErrNoSpace) {
		t.Errorf("create below the reserve: got %v, want ErrNoSpace", err)
	}
	if left := regular(t, dir); len(left) != 1 {
		t.Errorf("left: %v", left)
	}
}

func TestPingFindsWhatCannotBeWritten(t *testing.T) {
	dir := t.TempDir()
	f := open(t, Config{Dir: dir})
	if err := f.Ping(t.Context()); err != nil {
		t.Fatal(err)
	}
	if left := regular(t, dir); len(left) > 0 {
		t.Errorf("ping left %v", left)
	}
	if err := os.RemoveAll(f.tmp()); err != nil {
		t.Fatal(err)
	}
	if err := f.Ping(t.Context()); err == nil {
		t.Error("ping without a directory to write to succeeded")
	}
}

func TestListPassesOverForeignFiles(t *testing.T) {
	dir := t.TempDir()
	f := open(t, Config{Dir: dir})
	if err := store(f, "ours", "content"); err != nil {
		t.Fatal(err)
	}
	other := "00"
	if shardOf("foreign") == other {
		other = "01"
	}
	for _, path := range []string{"README", "notes/foreign", other + "/foreign", shardOf("ours") + "/x.txt"} {
		full := filepath.Join(dir, path)
		if err := os.MkdirAll(filepath.Dir(full), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(full, nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if keys := filestest.Keys(t, f); len(keys) != 1 || keys[0] != "ours" {
		t.Errorf("listed %v", keys)
	}
}
