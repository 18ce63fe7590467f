package engine_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/tidegate/tidegate/batch"
	"github.com/tidegate/tidegate/batch/batchtest"
	"github.com/tidegate/tidegate/batch/engine"
)

// move moves a file or directory of the harness.
func (h harness) move(from, to string) {
	h.T.Helper()
	if err := os.Rename(filepath.Join(h.Dir, from), filepath.Join(h.Dir, to)); err != nil {
		h.T.Fatal(err)
	}
}

// loseDatabase moves the database away.
func (h harness) loseDatabase() {
	h.T.Helper()
	for _, suffix := range []string{"", "-wal", "-shm"} {
		if err := os.Rename(h.Dir+"/tidegate.db"+suffix, h.Dir+"/lost.db"+suffix); err != nil && !errors.Is(err, os.ErrNotExist) {
			h.T.Fatal(err)
		}
	}
}

// restoreDatabase puts it back.
func (h harness) restoreDatabase() {
	h.T.Helper()
	for _, suffix := range []string{"", "-wal", "-shm"} {
		if err := os.Remove(h.Dir + "/tidegate.db" + suffix); err != nil && !errors.Is(err, os.ErrNotExist) {
			h.T.Fatal(err)
		}
		if err := os.Rename(h.Dir+"/lost.db"+suffix, h.Dir+"/tidegate.db"+suffix); err != nil && !errors.Is(err, os.ErrNotExist) {
			h.T.Fatal(err)
		}
	}
}

// tryOpen opens an engine and closes it again.
func (h harness) tryOpen(adopt bool) error {
	h.T.Helper()
	e := batchtest.NewEngine(h.Config, h.NewStore(), h.NewFiles(), h.Pool)
	if adopt {
		e.AdoptContents()
	}
	err := e.Open(h.T.Context())
	if err != nil {
		return err
	}
	return e.Stop(h.T.Context())
}

// Database and contents are recognised as belonging together, or kept closed. What
// is closed opens by itself once the right one is there.
func TestIdentity(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		files  int // before
		change func(h harness)
		say    string // in the error; "" for none
		heal   func(h harness)
	}{
		"nothing changed":           {files: 2},
		"nothing was there":         {},
		"database is new":           {files: 2, change: harness.loseDatabase, say: "the database knows none of them: restore the database", heal: harness.restoreDatabase},
		"contents are not mounted":  {files: 2, change: func(h harness) { h.move("files", "away") }, say: "is empty: mount or restore the contents", heal: func(h harness) { _ = os.RemoveAll(h.Dir + "/files"); h.move("away", "files") }},
		"contents of another":       {files: 2, change: harness.otherContents, say: "of the newest 2 files of the database none is in the directory", heal: func(h harness) { _ = os.RemoveAll(h.Dir + "/files"); h.move("away", "files") }},
		"both are new":              {files: 2, change: func(h harness) { h.loseDatabase(); h.move("files", "away") }},
		"marker of contents lost":   {files: 2, change: func(h harness) { h.remove("files/place") }},
		"marker of database lost":   {files: 2, change: harness.forgetPlace}, // as before places were kept
		"both markers lost":         {files: 2, change: func(h harness) { h.forgetPlace(); h.remove("files/place") }},
		"no files, new directory":   {change: func(h harness) { h.move("files", "away") }},
		"no files, database is new": {change: harness.loseDatabase},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := newHarness(t, batch.Config{})
			h.Open()
			for range tt.files {
				h.Upload(batchtest.Input(1))
			}
			h.Close(0)
			before := h.contents()
			if tt.change != nil {
				tt.change(h)
			}
			for range 2 { // asking does not make it so
				err := h.tryOpen(false)
				if (err == nil) != (tt.say == "") || err != nil && (!errors.Is(err, engine.ErrOtherContents) || !strings.Contains(err.Error(), tt.say)) {
					t.Fatalf("got %v, want %q", err, tt.say)
				}
			}
			if tt.heal == nil {
				return
			}
			tt.heal(h)
			if err := h.tryOpen(false); err != nil {
				t.Errorf("after the right one came back: %v", err)
			}
			if after := h.contents(); after != before {
				t.Errorf("%d contents, want %d", after, before)
			}
			tt.change(h)
			if err := h.tryOpen(true); err != nil {
				t.Errorf("adopting: %v", err)
			}
			if err := h.tryOpen(false); err != nil {
				t.Errorf("after adopting: %v", err)
			}
		})
	}
}

// contents counts all contents.
func (h harness) contents() int {
	h.T.Helper()
	found, err := filepath.Glob(filepath.Join(h.Dir, "*", "??", "*"))
	if err != nil {
		h.T.Fatal(err)
	}
	return len(found)
}

func (h harness) remove(name string) {
	h.T.Helper()
	if err := os.Remove(filepath.Join(h.Dir, name)); err != nil {
		h.T.Fatal(err)
	}
}

// otherContents puts the contents of another installation in place of its own.
func (h harness) otherContents() {
	h.T.Helper()
	h.move("files", "away")
	other := newHarness(h.T, batch.Config{})
	other.Open()
	other.Upload(batchtest.Input(1))
	other.Close(0)
	if err := os.CopyFS(h.Dir+"/files", os.DirFS(other.Dir+"/files")); err != nil {
		h.T.Fatal(err)
	}
}

// forgetPlace makes the database one that was written before places were kept.
func (h harness) forgetPlace() {
	h.T.Helper()
	s := h.NewStore()
	if err := s.Open(h.T.Context()); err != nil {
		h.T.Fatal(err)
	}
	if err := errors.Join(s.SetPlace(h.T.Context(), ""), s.Close()); err != nil {
		h.T.Fatal(err)
	}
}
