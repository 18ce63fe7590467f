package engine_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"go.uber.org/zap"

	"github.com/tidegate/tidegate/batch"
	"github.com/tidegate/tidegate/batch/engine"
	"github.com/tidegate/tidegate/batch/files/local"
	"github.com/tidegate/tidegate/batch/queue/memory"
	"github.com/tidegate/tidegate/batch/store/sqlite"
)

// move moves a file or directory of a house.
func (h *house) move(from, to string) {
	h.t.Helper()
	if err := os.Rename(filepath.Join(h.dir, from), filepath.Join(h.dir, to)); err != nil {
		h.t.Fatal(err)
	}
}

// loseDatabase moves the database away.
func (h *house) loseDatabase() {
	h.t.Helper()
	for _, suffix := range []string{"", "-wal", "-shm"} {
		if err := os.Rename(h.dir+"/tidegate.db"+suffix, h.dir+"/lost.db"+suffix); err != nil && !errors.Is(err, os.ErrNotExist) {
			h.t.Fatal(err)
		}
	}
}

// restoreDatabase puts it back.
func (h *house) restoreDatabase() {
	h.t.Helper()
	for _, suffix := range []string{"", "-wal", "-shm"} {
		if err := os.Remove(h.dir + "/tidegate.db" + suffix); err != nil && !errors.Is(err, os.ErrNotExist) {
			h.t.Fatal(err)
		}
		if err := os.Rename(h.dir+"/lost.db"+suffix, h.dir+"/tidegate.db"+suffix); err != nil && !errors.Is(err, os.ErrNotExist) {
			h.t.Fatal(err)
		}
	}
}

// tryOpen opens an engine and closes it again.
func (h *house) tryOpen(adopt bool) error {
	h.t.Helper()
	e := engine.NewEngine(h.cfg, sqlite.New(sqlite.Config{Path: h.dir + "/tidegate.db"}), memory.New(), local.New(local.Config{Dir: h.dir + "/files"}), h.pool, zap.NewNop())
	if adopt {
		e.AdoptContents()
	}
	err := e.Open(h.t.Context())
	if err != nil {
		return err
	}
	return e.Stop(h.t.Context())
}

// Database and contents are recognised as belonging together, or kept closed. What
// is closed opens by itself once the right one is there.
func TestIdentity(t *testing.T) {
	for name, tt := range map[string]struct {
		files  int // before
		change func(h *house)
		say    string // in the error; "" for none
		heal   func(h *house)
	}{
		"nothing changed":           {files: 2},
		"nothing was there":         {},
		"database is new":           {files: 2, change: (*house).loseDatabase, say: "the database knows none of them: restore the database", heal: (*house).restoreDatabase},
		"contents are not mounted":  {files: 2, change: func(h *house) { h.move("files", "away") }, say: "is empty: mount or restore the contents", heal: func(h *house) { _ = os.RemoveAll(h.dir + "/files"); h.move("away", "files") }},
		"contents of another":       {files: 2, change: (*house).otherContents, say: "of the newest 2 files of the database none is in the directory", heal: func(h *house) { _ = os.RemoveAll(h.dir + "/files"); h.move("away", "files") }},
		"both are new":              {files: 2, change: func(h *house) { h.loseDatabase(); h.move("files", "away") }},
		"marker of contents lost":   {files: 2, change: func(h *house) { h.remove("files/place") }},
		"marker of database lost":   {files: 2, change: (*house).forgetPlace}, // as before places were kept
		"both markers lost":         {files: 2, change: func(h *house) { h.forgetPlace(); h.remove("files/place") }},
		"no files, new directory":   {change: func(h *house) { h.move("files", "away") }},
		"no files, database is new": {change: (*house).loseDatabase},
	} {
		t.Run(name, func(t *testing.T) {
			h := newHouse(t, batch.Config{})
			h.open()
			for range tt.files {
				h.upload(input(1))
			}
			h.close(0)
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
func (h *house) contents() int {
	h.t.Helper()
	found, err := filepath.Glob(filepath.Join(h.dir, "*", "??", "*"))
	if err != nil {
		h.t.Fatal(err)
	}
	return len(found)
}

func (h *house) remove(name string) {
	h.t.Helper()
	if err := os.Remove(filepath.Join(h.dir, name)); err != nil {
		h.t.Fatal(err)
	}
}

// otherContents puts the contents of another installation in place of its own.
func (h *house) otherContents() {
	h.t.Helper()
	h.move("files", "away")
	other := newHouse(h.t, batch.Config{})
	other.open()
	other.upload(input(1))
	other.close(0)
	if err := os.CopyFS(h.dir+"/files", os.DirFS(other.dir+"/files")); err != nil {
		h.t.Fatal(err)
	}
}

// forgetPlace makes the database one that was written before places were kept.
func (h *house) forgetPlace() {
	h.t.Helper()
	s := sqlite.New(sqlite.Config{Path: h.dir + "/tidegate.db"})
	if err := s.Open(h.t.Context()); err != nil {
		h.t.Fatal(err)
	}
	if err := errors.Join(s.SetPlace(h.t.Context(), ""), s.Close()); err != nil {
		h.t.Fatal(err)
	}
}
