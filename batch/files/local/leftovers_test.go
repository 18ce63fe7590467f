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

// Where instances come and go and one is always there, what those that were
// killed have left is removed all the same, and nothing that is being written.
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
		t.Fatalf("what is young: %q", got)
	}
	old := time.Now().Add(-staleAge - time.Minute)
	for _, path := range glob(t, dir, tmpName, "lost-*") {
		if err := os.Chtimes(path, old, old); err != nil {
			t.Fatal(err)
		}
	}
	list()
	if got := unfinished(); !slices.Equal(got, []string{"slow"}) {
		t.Errorf("what is old: %q", got)
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
