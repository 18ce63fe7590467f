package local

import (
	"errors"
	"io"
	"os"
	"syscall"
	"testing"

	"github.com/tidegate/tidegate/batch"
)

// exhaust takes every file descriptor of the process until the returned function is
// called.
func exhaust(t *testing.T) (release func()) {
	t.Helper()
	var before syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &before); err != nil {
		t.Fatal(err)
	}
	few := before
	few.Cur = min(before.Cur, 256)
	if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &few); err != nil {
		t.Fatal(err)
	}
	var taken []*os.File
	for {
		f, err := os.Open(os.DevNull)
		if err != nil {
			break
		}
		taken = append(taken, f)
	}
	return func() {
		for _, f := range taken {
			f.Close()
		}
		if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &before); err != nil {
			t.Error(err)
		}
	}
}

// TestOutOfDescriptors checks that without file descriptors every operation returns
// batch.ErrUnavailable, and that no stored content is lost.
func TestOutOfDescriptors(t *testing.T) {
	ctx := t.Context()
	f := New(Config{Dir: t.TempDir()})
	if err := f.Open(ctx); err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	store := func(key string) (err error) {
		w, err := f.Create(ctx, key)
		if err != nil {
			return err
		}
		if _, err := io.WriteString(w, "content"); err != nil {
			return errors.Join(err, w.Abort())
		}
		return w.Commit(ctx)
	}
	if err := store("kept"); err != nil {
		t.Fatal(err)
	}
	begun, err := f.Create(ctx, "begun")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(begun, "content"); err != nil {
		t.Fatal(err)
	}
	release := exhaust(t)
	errs := map[string]error{
		"create": store("new"),
		"open":   New(Config{Dir: t.TempDir()}).Open(ctx),
	}
	_, errs["read"] = f.Read(ctx, "kept", 0, -1)
	errs["commit"] = begun.Commit(ctx) // which frees a descriptor
	release()
	for name, err := range errs {
		if !errors.Is(err, batch.ErrUnavailable) {
			t.Errorf("%s: got %v, want batch.ErrUnavailable", name, err)
		}
	}
	if err := store("new"); err != nil {
		t.Errorf("storing with descriptors again: %v", err)
	}
	for _, key := range []string{"kept", "new"} {
		r, err := f.Read(ctx, key, 0, -1)
		if err != nil {
			t.Fatal(err)
		}
		text, err := io.ReadAll(r)
		r.Close()
		if err != nil || string(text) != "content" {
			t.Errorf("%s: got %q, %v", key, text, err)
		}
	}
}
