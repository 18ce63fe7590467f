package local

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"testing"

	"github.com/tidegate/tidegate/batch"
	"github.com/tidegate/tidegate/batch/files/filestest"
)

func TestSharedSuite(t *testing.T) {
	dir := t.TempDir()
	open(t, Config{Dir: dir, Shared: true})
	n := 0
	filestest.Run(t, func(t *testing.T) batch.Files {
		n++
		return open(t, Config{Dir: fmt.Sprintf("%s/%d", dir, n), Shared: true})
	})
}

// TestShared checks that instances that share a directory see the same contents and
// the same place, and that a later instance keeps contents that another is writing.
func TestShared(t *testing.T) {
	dir := t.TempDir()
	first := open(t, Config{Dir: dir, Shared: true})
	w, err := first.Create(t.Context(), "late")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(w, "begun"); err != nil {
		t.Fatal(err)
	}
	second := open(t, Config{Dir: dir, Shared: true})
	if err := w.Commit(context.Background()); err != nil {
		t.Fatalf("content being written was removed: %v", err)
	}
	content, err := second.Read(t.Context(), "late", 0, -1)
	if err != nil {
		t.Fatal(err)
	}
	defer content.Close()
	if b, err := io.ReadAll(content); err != nil || string(b) != "begun" {
		t.Errorf("%q, %v", b, err)
	}
	alone := New(Config{Dir: dir})
	if err := alone.Open(t.Context()); err == nil || !strings.Contains(err.Error(), "in use") {
		t.Errorf("one that wants it alone: %v", err)
	}
	here, err := first.Place(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if there, err := second.Place(t.Context()); err != nil || there != here || here == "" {
		t.Errorf("places %q and %q, %v", here, there, err)
	}
	elsewhere := open(t, Config{Dir: t.TempDir(), Shared: true})
	if there, err := elsewhere.Place(t.Context()); err != nil || there == here {
		t.Errorf("another directory has the place %q, %v", there, err)
	}
}

// TestAloneKeepsOut checks that an exclusive lock refuses instances that would share the
// directory.
func TestAloneKeepsOut(t *testing.T) {
	dir := t.TempDir()
	open(t, Config{Dir: dir})
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := New(Config{Dir: dir, Shared: true}).Open(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("it did not wait: %v", err)
	}
	if err := New(Config{Dir: dir, Shared: true}).Open(t.Context()); err == nil || !strings.Contains(err.Error(), "in use") {
		t.Errorf("it came in: %v", err)
	}
}

// TestSharedAtOnce opens the directory with many instances concurrently: all must
// succeed and return the same place.
func TestSharedAtOnce(t *testing.T) {
	dir := t.TempDir()
	var coming sync.WaitGroup
	places := make([]string, 16)
	for i := range places {
		coming.Go(func() {
			f := New(Config{Dir: dir, Shared: true})
			if err := f.Open(t.Context()); err != nil {
				t.Error(err)
				return
			}
			var err error
			if places[i], err = f.Place(t.Context()); err != nil {
				t.Error(err)
			}
			if err := store(f, fmt.Sprint("key", i), "content"); err != nil {
				t.Error(err)
			}
			if err := f.Close(); err != nil {
				t.Error(err)
			}
		})
	}
	coming.Wait()
	for _, p := range places {
		if p != places[0] || p == "" {
			t.Fatalf("places %q", places)
		}
	}
}
