package engine_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/tidegate/tidegate/batch"
	"github.com/tidegate/tidegate/batch/batchtest"
	"github.com/tidegate/tidegate/batch/engine"
	"github.com/tidegate/tidegate/internal/openai"
)

// orphan makes a content without a row, as a crash between the two leaves it.
func (h harness) orphan() (key string) {
	h.T.Helper()
	files := h.NewFiles()
	if err := files.Open(h.T.Context()); err != nil {
		h.T.Fatal(err)
	}
	key = openai.NewID("file-")
	w, err := files.Create(h.T.Context(), key)
	if err != nil {
		h.T.Fatal(err)
	}
	if _, err := w.Write([]byte("orphaned")); err != nil {
		h.T.Fatal(err)
	}
	if err := w.Commit(h.T.Context()); err != nil {
		h.T.Fatal(err)
	}
	if err := files.Close(); err != nil {
		h.T.Fatal(err)
	}
	return key
}

// contentPath is the path of a content, "" when there is none.
func (h harness) contentPath(key string) string {
	h.T.Helper()
	found, err := filepath.Glob(filepath.Join(h.Dir, "files", "??", key))
	if err != nil || len(found) > 1 {
		h.T.Fatal(found, err)
	}
	if len(found) == 0 {
		return ""
	}
	return found[0]
}

// age makes contents old enough to be noted.
func (h harness) age(keys ...string) {
	h.T.Helper()
	long := time.Now().Add(-2 * time.Hour)
	for _, key := range keys {
		if err := os.Chtimes(h.contentPath(key), long, long); err != nil {
			h.T.Fatal(err)
		}
	}
}

// check does a round of comparing contents with rows.
func (h harness) checkContents(deleting bool) {
	h.T.Helper()
	if err := engine.CheckContents(h.Engine, h.T.Context(), deleting); err != nil {
		h.T.Fatal(err)
	}
}

// A content that a crash left without a row is noted and kept, and deleted when it
// has been noted for Quarantine. Young ones, which may be about to get a row, are
// not noted; what has a row is never deleted.
func TestUnknownContentsAreQuarantined(t *testing.T) {
	t.Parallel()
	h := newHarness(t, batch.Config{Quarantine: 24 * time.Hour})
	h.Open()
	var kept []string
	for range 20 {
		kept = append(kept, h.Upload(batchtest.Input(1)))
	}
	h.Close(0)
	old, young := h.orphan(), h.orphan()
	h.age(append(kept, old)...)
	h.Open()
	h.checkContents(true)
	if q, ok := h.Engine.Quarantine(); !ok || q.Unknown != 1 || q.Total != 22 || q.TooMany() || q.Oldest.IsZero() {
		t.Errorf("got %+v, %t; want 1 of 22 unknown", q, ok)
	}
	if h.contentPath(old) == "" {
		t.Fatal("a content is deleted in the round that notes it")
	}
	if health := h.Engine.Health(t.Context()); !health.OK() || health.Quarantined != 1 {
		t.Errorf("health %+v, want ok with 1 quarantined: a leftover is nothing to act on", health)
	}

	h.Engine.Apply(batch.Config{Quarantine: time.Nanosecond})
	h.checkContents(false)
	if h.contentPath(old) == "" {
		t.Error("a content is deleted in the first round after a start")
	}
	h.checkContents(true)
	if h.contentPath(old) != "" {
		t.Error("a content is kept although its quarantine is over")
	}
	if h.contentPath(young) == "" {
		t.Error("a content is deleted that may be about to get its row")
	}
	for _, key := range kept {
		if h.contentPath(key) == "" {
			t.Errorf("the content of file %s is deleted", key)
		}
	}
	h.checkContents(true)
	if q, _ := h.Engine.Quarantine(); q.Unknown != 0 {
		t.Errorf("got %+v, want none unknown", q)
	}
}

// Many contents without a row are no leftovers: rows are missing. None of them is
// deleted, however long they have been noted, and Health reports it.
func TestManyUnknownContentsAreKept(t *testing.T) {
	t.Parallel()
	h := newHarness(t, batch.Config{Quarantine: time.Nanosecond})
	h.Open()
	kept := h.Upload(batchtest.Input(1))
	h.Close(0)
	unknown := []string{h.orphan(), h.orphan(), h.orphan()}
	h.age(append(unknown, kept)...)
	h.Open()
	for range 3 {
		h.checkContents(true)
	}
	for _, key := range unknown {
		if h.contentPath(key) == "" {
			t.Errorf("content %s is deleted", key)
		}
	}
	health := h.Engine.Health(t.Context())
	if want := "3 of 4 contents are unknown to the database"; health.OK() || !strings.Contains(health.Contents, want) || !strings.Contains(health.Contents, unknown[0]) {
		t.Errorf("health %+v, want %q and %s", health, want, unknown[0])
	}
}

// A content gets its row after it was noted: it leaves the quarantine, and its time
// begins anew should it lose the row.
func TestQuarantineEnds(t *testing.T) {
	t.Parallel()
	h := newHarness(t, batch.Config{})
	h.Open()
	first, err := h.Store.Quarantine(t.Context(), []string{"a", "b"})
	if err != nil || len(first) != 2 {
		t.Fatal(first, err)
	}
	h.checkContents(false) // names neither
	again, err := h.Store.Quarantine(t.Context(), []string{"a"})
	if err != nil || len(again) != 1 || !again[0].Since.After(first[0].Since) {
		t.Errorf("got %v, %v; want a later time than %v", again, err, first[0].Since)
	}
}

// A file whose content is gone is found and named; a deleted one is not missed.
func TestMissingContentsAreFound(t *testing.T) {
	t.Parallel()
	h := newHarness(t, batch.Config{})
	h.Open()
	there, gone, deleted := h.Upload(batchtest.Input(1)), h.Upload(batchtest.Input(1)), h.Upload(batchtest.Input(1))
	for _, key := range []string{gone, deleted} {
		if err := os.Remove(h.contentPath(key)); err != nil {
			t.Fatal(err)
		}
	}
	if err := h.Store.DeleteFile(t.Context(), tenant, deleted); err != nil {
		t.Fatal(err)
	}
	h.checkContents(false)
	health := h.Engine.Health(t.Context())
	said := health.Contents
	if health.OK() || !strings.Contains(said, "the contents of 1 files are missing") || !strings.Contains(said, gone) {
		t.Errorf("health %+v, want the missing file %s", health, gone)
	}
	if strings.Contains(said, there) || strings.Contains(said, deleted) {
		t.Errorf("health %+v names files that miss nothing", health)
	}
	if err := h.Store.DeleteFile(t.Context(), tenant, gone); err != nil {
		t.Fatal(err)
	}
	h.checkContents(false)
	if health := h.Engine.Health(t.Context()); !health.OK() {
		t.Errorf("health %+v after the file was deleted", health)
	}
}
