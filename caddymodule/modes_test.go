//go:build unix

package caddymodule

import (
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"go.uber.org/zap"
)

// mode returns the permission bits of a path.
func mode(t *testing.T, path string) fs.FileMode {
	t.Helper()
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	return info.Mode().Perm()
}

// A data directory whose modes let others in, as a restored backup has them, is
// closed when the gateway starts.
func TestLooseModesAreTightened(t *testing.T) {
	_, url := newSim(t)
	g := newGateway(t, url)
	g.run(t)
	g.upload(t)
	data := g.app.Data
	paths := []string{data, filepath.Join(data, "tidegate.db"), filepath.Join(data, "files")}
	for _, path := range paths {
		if got := mode(t, path); got&loose != 0 {
			t.Errorf("%s is made with %s, want no rights of others", path, got)
		}
		if err := os.Chmod(path, mode(t, path)|0o066); err != nil {
			t.Fatal(err)
		}
	}
	g.app.Batch.MaxInFlight = 7
	g.load(t)
	for _, path := range paths {
		if got := mode(t, path); got&loose != 0 {
			t.Errorf("%s has %s after a start, want no rights of others", path, got)
		}
	}
	if left := g.runtime(t).looseFiles(); len(left) != 0 {
		t.Errorf("got %v left, want none", left)
	}
}

// What is not the gateway's keeps its mode, and is named by /health and the doctor.
func TestForeignLooseModesAreNamed(t *testing.T) {
	_, url := newSim(t)
	g := newGateway(t, url)
	shared := filepath.Join(t.TempDir(), "shared")
	key := filepath.Join(t.TempDir(), "key")
	if err := os.Mkdir(shared, 0o755); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{filepath.Join(shared, "someone.txt"), key} {
		if err := os.WriteFile(path, []byte("secret"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	g.app.Data = shared
	g.app.APIKeys = []string{"{file." + key + "}"}
	g.run(t)
	if got := mode(t, shared); got != 0o755 {
		t.Errorf("the mode of a directory with other files became %s", got)
	}
	if got := mode(t, key); got != 0o644 {
		t.Errorf("the mode of a key file became %s", got)
	}
	for _, path := range []string{"/doctor", "/health"} {
		a := g.ask(t, "GET", path, "", "Authorization", "Bearer secret")
		for _, want := range []string{shared + " (drwxr-xr-x)", key + " (-rw-r--r--)"} {
			if !strings.Contains(a.body, want) {
				t.Errorf("%s does not name %s: %s", path, want, a.body)
			}
		}
	}
}

// Directories that every user shares keep their mode.
func TestForeign(t *testing.T) {
	dir := t.TempDir()
	p := places{ours: []string{dir}}
	if err := os.Chmod(dir, 0o777|fs.ModeSticky); err != nil {
		t.Fatal(err)
	}
	if left := p.tighten(zap.NewNop()); len(left) != 1 || mode(t, dir) != 0o777 {
		t.Errorf("got %v left and mode %s, want a directory like /tmp left alone", left, mode(t, dir))
	}
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"tidegate.db", "tidegate.db-wal", "tidegate.db.lock"} {
		if err := os.WriteFile(filepath.Join(dir, name), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if left := p.tighten(zap.NewNop()); len(left) != 0 || mode(t, dir) != 0o700 {
		t.Errorf("got %v left and mode %s, want 0700", left, mode(t, dir))
	}
}
