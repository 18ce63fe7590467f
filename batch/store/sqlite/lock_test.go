package sqlite

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// openInChild names the database that the test program opens when it is run
// as a second process.
const openInChild = "TIDEGATE_TEST_OPEN"

// child opens and closes a database and prints the error.
func child(path string) int {
	s := New(Config{Path: path})
	if err := errors.Join(s.Open(context.Background()), s.Close()); err != nil {
		fmt.Println(err)
		return 1
	}
	return 0
}

// runChild opens path in another process and returns its output.
func runChild(t *testing.T, path string) (string, error) {
	cmd := exec.CommandContext(t.Context(), os.Args[0])
	cmd.Env = append(os.Environ(), openInChild+"="+path)
	out, err := cmd.CombinedOutput()
	return string(out), err
}

func TestOneProcessAtATime(t *testing.T) {
	path := databasePath(t)
	s := openStore(t, path)
	out, err := runChild(t, path)
	if err == nil {
		t.Fatal("two processes have the database open")
	}
	for _, want := range []string{filepath.Dir(path), "another tidegate"} {
		if !strings.Contains(out, want) {
			t.Errorf("%q does not contain %q", out, want)
		}
	}
	if err := New(Config{Path: path}).Open(t.Context()); err == nil {
		t.Error("one process has the database open twice")
	}
	if err := s.Ping(t.Context()); err != nil {
		t.Errorf("the first is disturbed: %v", err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if out, err := runChild(t, path); err != nil {
		t.Errorf("opening a closed database: %v: %s", err, out)
	}
}

func TestOpenTwice(t *testing.T) {
	s := openStore(t, databasePath(t))
	if err := s.Open(t.Context()); !errors.Is(err, errOpen) {
		t.Fatalf("error is %v, want %v", err, errOpen)
	}
	if err := s.Ping(t.Context()); err != nil {
		t.Fatal(err)
	}
}
