package sqlite

import (
	"bytes"
	"fmt"
	"os"
	"strings"
	"testing"
)

// TestDamage opens damaged databases.
func TestDamage(t *testing.T) {
	for name, spoil := range map[string]func([]byte){
		"header":          func(b []byte) { copy(b, bytes.Repeat([]byte("?"), 100)) },
		"schema":          func(b []byte) { copy(b[100:], bytes.Repeat([]byte{0xff}, 4000)) },
		"everything else": func(b []byte) { copy(b[4096:], bytes.Repeat([]byte{0xff}, len(b))) },
	} {
		t.Run(name, func(t *testing.T) {
			path := databasePath(t)
			s := New(Config{Path: path})
			if err := s.Open(t.Context()); err != nil {
				t.Fatal(err)
			}
			makeRunning(t, s, "batch_1", 64)
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
			content, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			spoil(content)
			if err := os.WriteFile(path, content, 0o600); err != nil {
				t.Fatal(err)
			}
			err = s.Open(t.Context())
			if err == nil {
				t.Fatal("the database was opened")
			}
			if want := fmt.Sprintf("the database %s is damaged", path); !strings.Contains(err.Error(), want) {
				t.Errorf("%q does not contain %q", err, want)
			}
			left, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(left, content) {
				t.Error("the damaged file was written to")
			}
			if err := s.Close(); err != nil {
				t.Error(err)
			}
		})
	}
}

// TestDamagedSegment reads results that differ from what was committed.
func TestDamagedSegment(t *testing.T) {
	s := openStore(t, databasePath(t))
	refs := makeRunning(t, s, "batch_1", 64)
	finishSlices(t, s, refs)
	if _, err := s.writer.db.ExecContext(t.Context(), `UPDATE segments SET data = CAST(data || x'00' AS BLOB)`); err != nil {
		t.Fatal(err)
	}
	if lines, err := s.Results(t.Context(), refs[0]); err == nil {
		t.Fatalf("%d damaged results were given out", len(lines))
	}
}

// TestErrors opens paths that cannot be opened.
func TestErrors(t *testing.T) {
	dir := t.TempDir()
	file := dir + "/file"
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for name, path := range map[string]string{"a directory": dir, "below a file": file + "/tidegate.db"} {
		s := New(Config{Path: path})
		err := s.Open(t.Context())
		if err == nil {
			t.Fatalf("%s was opened", name)
		}
		if !strings.Contains(err.Error(), path) {
			t.Errorf("%q does not name %q", err, path)
		}
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	}
}
