package local

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// TestLeftoversAmongSeveral checks that unfinished contents of killed instances are
// removed while another instance has the directory open, and that contents being
// written are kept.
func TestLeftoversAmongSeveral(t *testing.T) {
	dir := t.TempDir()
	staying := open(t, Config{Dir: dir, Shared: true})
	killed := New(Config{Dir: dir, Shared: true})
	if err := killed.Open(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := killed.Create(t.Context(), "lost"); err != nil {
		t.Fatal(err)
	}
	if err := killed.Close(); err != nil { // as a crash would
		t.Fatal(err)
	}
	slow, err := staying.Create(t.Context(), "slow")
	if err != nil {
		t.Fatal(err)
	}
	next := open(t, Config{Dir: dir, Shared: true})
	unfinished := func() (keys []string) {
		t.Helper()
		names, err := os.ReadDir(filepath.Join(dir, tmpName))
		if err != nil {
			t.Fatal(err)
		}
		for _, n := range names {
			key, _, _ := strings.Cut(n.Name(), "-")
			keys = append(keys, key)
		}
		return keys
	}
	list := func() {
		t.Helper()
		if err := next.List(t.Context(), func(string, time.Time) error { return nil }); err != nil {
			t.Fatal(err)
		}
	}
	list()
	if got := unfinished(); !slices.Equal(got, []string{"lost", "slow"}) {
		t.Fatalf("recent unfinished contents: got %q, want them kept", got)
	}
	old := time.Now().Add(-staleAge - time.Minute)
	for _, path := range glob(t, dir, tmpName, "lost-*") {
		if err := os.Chtimes(path, old, old); err != nil {
			t.Fatal(err)
		}
	}
	list()
	if got := unfinished(); !slices.Equal(got, []string{"slow"}) {
		t.Errorf("old unfinished contents: got %q, want none", got)
	}
	if err := slow.Commit(context.Background()); err != nil {
		t.Error(err)
	}
}

func glob(t *testing.T, pattern ...string) []string {
	t.Helper()
	paths, err := filepath.Glob(filepath.Join(pattern...))
	if err != nil || len(paths) == 0 {
		t.Fatalf("%q: %q, %v", pattern, paths, err)
	}
	return paths
}
