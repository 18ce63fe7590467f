package tidegatetest

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
)

// Root is the directory of the program's module.
func Root(tb testing.TB) string {
	tb.Helper()
	root, err := root()
	if err != nil {
		tb.Fatal(err)
	}
	return root
}

// Binary is the path of the program under test: $TIDEGATE_BIN, or else a build
// of this tree.
func Binary(tb testing.TB) string {
	tb.Helper()
	path, err := binary()
	if err != nil {
		tb.Fatal(err)
	}
	return path
}

var root = sync.OnceValues(func() (string, error) {
	dir, err := os.Getwd() // of a test: its package's folder
	if err != nil {
		return "", fmt.Errorf("looking for the module: %w", err)
	}
	for {
		// The tests are a module of their own inside the program's.
		if _, err := os.Stat(filepath.Join(dir, "cmd", "tidegate")); err == nil {
			return dir, nil
		}
		parent := filepath.Dir(dir)
		if parent == dir {
			return "", errors.New("looking for the module: no cmd/tidegate above the test")
		}
		dir = parent
	}
})

var binary = sync.OnceValues(func() (string, error) {
	if path := os.Getenv("TIDEGATE_BIN"); path != "" {
		return filepath.Abs(path)
	}
	return build("tidegate")
})

// FaultyBinary is the path of a build of the program that fails where
// TIDEGATE_FAILPOINTS says (see batch/failpoint): $TIDEGATE_FAULTY_BIN, or
// else a build of this tree.
func FaultyBinary(tb testing.TB) string {
	tb.Helper()
	path, err := faultyBinary()
	if err != nil {
		tb.Fatal(err)
	}
	return path
}

var faultyBinary = sync.OnceValues(func() (string, error) {
	if path := os.Getenv("TIDEGATE_FAULTY_BIN"); path != "" {
		return filepath.Abs(path)
	}
	return build("tidegate-failpoints", "-tags", "failpoints")
})

// ChangedBinary is the path of a build of the program with an Overlay.
func ChangedBinary(tb testing.TB, name string, files map[string]string, flags ...string) string {
	tb.Helper()
	bin, err := build(name, append(flags, Overlay(tb, files)...)...)
	if err != nil {
		tb.Fatal(err)
	}
	return bin
}

// Overlay returns flags for go build and go test that replace or add files, by their path in
// the module. The tree is not changed.
func Overlay(tb testing.TB, files map[string]string) []string {
	tb.Helper()
	dir, root := tb.TempDir(), Root(tb)
	replace := make(map[string]string)
	for path, text := range files {
		changed := filepath.Join(dir, strings.ReplaceAll(path, "/", "_"))
		if err := os.WriteFile(changed, []byte(text), 0o600); err != nil {
			tb.Fatal(err)
		}
		replace[filepath.Join(root, path)] = changed
	}
	text, err := json.Marshal(map[string]any{"Replace": replace})
	if err != nil {
		tb.Fatal(err)
	}
	overlay := filepath.Join(dir, "overlay.json") // https://pkg.go.dev/cmd/go, -overlay
	if err := os.WriteFile(overlay, text, 0o600); err != nil {
		tb.Fatal(err)
	}
	return []string{"-overlay", overlay}
}

// build builds the program under a name of its own.
func build(name string, flags ...string) (_ string, err error) {
	dir, err := root()
	if err != nil {
		return "", err
	}
	bin := filepath.Join(dir, ".cache", "bin")
	if err := os.MkdirAll(bin, 0o755); err != nil {
		return "", fmt.Errorf("building the program: %w", err)
	}
	// Packages are tested side by side. The second build finds everything done.
	lock, err := os.Create(filepath.Join(bin, "lock"))
	if err != nil {
		return "", fmt.Errorf("building the program: %w", err)
	}
	defer func() { err = errors.Join(err, lock.Close()) }()
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX); err != nil {
		return "", fmt.Errorf("waiting for another build: %w", err)
	}
	path := filepath.Join(bin, name)
	command := exec.Command("go", append(append([]string{"build"}, flags...), "-o", path, "./cmd/tidegate")...)
	command.Dir = dir
	command.Env = append(os.Environ(), "GOWORK=off") // with the versions of its own go.mod
	if printed, err := command.CombinedOutput(); err != nil {
		return "", fmt.Errorf("building the program: %w\n%s", err, printed)
	}
	return path, nil
}
