package batch_test

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/tidegate/tidegate/batch"
	"github.com/tidegate/tidegate/batch/files/local"
	"github.com/tidegate/tidegate/internal/openai"
)

// orphan makes a content without a row, as a crash between the two leaves it.
func (h *house) orphan() (key string) {
	h.t.Helper()
	files := local.New(local.Config{Dir: h.dir + "/files"})
	if err := files.Open(h.t.Context()); err != nil {
		h.t.Fatal(err)
	}
	key = openai.NewID("file-")
	w, err := files.Create(h.t.Context(), key)
	if err != nil {
		h.t.Fatal(err)
	}
	if _, err := w.Write([]byte("nobody's")); err != nil {
		h.t.Fatal(err)
	}
	if err := w.Commit(h.t.Context()); err != nil {
		h.t.Fatal(err)
	}
	if err := files.Close(); err != nil {
		h.t.Fatal(err)
	}
	return key
}

// contentPath is the path of a content, "" when there is none.
func (h *house) contentPath(key string) string {
	h.t.Helper()
	found, err := filepath.Glob(filepath.Join(h.dir, "files", "??", key))
	if err != nil || len(found) > 1 {
		h.t.Fatal(found, err)
	}
	if len(found) == 0 {
		return ""
	}
	return found[0]
}

// What a crash left between a content and its row is removed, but only when it
// is so old that nobody can be about to make the row. What has one stays.
func TestOrphans(t *testing.T) {
	h := newHouse(t, batch.Config{})
	h.open()
	kept := h.upload(input(1))
	h.close(0)
	if h.contentPath(kept) == "" { // the first round came between it and its row
		t.Fatal("a content is gone whose row may have been about to be made")
	}
	old, young := h.orphan(), h.orphan()
	long := time.Now().Add(-2 * time.Hour)
	for _, key := range []string{kept, old} {
		if err := os.Chtimes(h.contentPath(key), long, long); err != nil {
			t.Fatal(err)
		}
	}
	h.open()
	until(t, "the orphan is gone", func() bool { return h.contentPath(old) == "" })
	h.close(0) // so that the round is over
	if h.contentPath(young) == "" {
		t.Error("a content is gone whose row may have been about to be made")
	}
	if h.contentPath(kept) == "" {
		t.Error("a content is gone that a file has")
	}
}
