package batch_test

import (
	"context"
	"errors"
	"io"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/tidegate/tidegate/batch"
	"github.com/tidegate/tidegate/batch/files/local"
)

// oneFile is a store that has one file.
type oneFile struct {
	batch.Store
	file batch.File
}

func (s oneFile) File(context.Context, string, string) (batch.File, error) { return s.file, nil }

// countedFiles counts how often a content is opened.
type countedFiles struct {
	batch.Files
	opened *int
}

func (f countedFiles) Read(ctx context.Context, key string, offset, length int64) (io.ReadCloser, error) {
	*f.opened++
	return f.Files.Read(ctx, key, offset, length)
}

// openOne stores a content and opens it.
func openOne(ctx context.Context, t *testing.T, content string, size int64) (*batch.Content, *int) {
	t.Helper()
	files := local.New(local.Config{Dir: t.TempDir(), Reserve: 1})
	if err := files.Open(ctx); err != nil {
		t.Fatal(err)
	}
	w, err := files.Create(ctx, "a")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(w, content); err != nil {
		t.Fatal(err)
	}
	if err := w.Commit(ctx); err != nil {
		t.Fatal(err)
	}
	opened := 0
	store := oneFile{file: batch.File{ID: "file-a", Key: "a", Bytes: size}}
	_, c, err := batch.OpenFile(ctx, store, countedFiles{files, &opened}, batch.DefaultTenant, "file-a")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := errors.Join(c.Close(), files.Close()); err != nil {
			t.Error(err)
		}
	})
	return c, &opened
}

func TestContentIsAReader(t *testing.T) {
	content := strings.Repeat("0123456789", 1000)
	c, _ := openOne(t.Context(), t, content, int64(len(content)))
	if err := iotest.TestReader(c, []byte(content)); err != nil {
		t.Error(err)
	}
	if c.Err() != nil {
		t.Errorf("an error of reading: %v", c.Err())
	}
}

func TestContentIsOpenedOnceFrontToBack(t *testing.T) {
	content := strings.Repeat("0123456789", 100_000)
	c, opened := openOne(t.Context(), t, content, int64(len(content)))
	if _, err := c.Seek(0, io.SeekEnd); err != nil { // as http.ServeContent does
		t.Fatal(err)
	}
	if _, err := c.Seek(0, io.SeekStart); err != nil {
		t.Fatal(err)
	}
	if got, err := io.ReadAll(c); err != nil || string(got) != content {
		t.Errorf("got %d bytes, %v", len(got), err)
	}
	if *opened != 1 {
		t.Errorf("opened %d times", *opened)
	}
}

func TestContentThatIsTooShort(t *testing.T) {
	c, _ := openOne(t.Context(), t, "short", 100)
	if _, err := io.ReadAll(c); !errors.Is(err, io.ErrUnexpectedEOF) || !errors.Is(c.Err(), io.ErrUnexpectedEOF) {
		t.Errorf("got %v and %v", err, c.Err())
	}
}

func TestContentEndsWithItsContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	c, _ := openOne(ctx, t, "content", 7)
	cancel()
	if _, err := c.Read(make([]byte, 1)); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}

func TestContentSeeks(t *testing.T) {
	c, _ := openOne(t.Context(), t, "content", 7)
	if _, err := c.Seek(-1, io.SeekStart); err == nil {
		t.Error("sought before the start")
	}
	if _, err := c.Seek(0, 9); err == nil {
		t.Error("sought from nowhere")
	}
	first := make([]byte, 1)
	for _, at := range []int64{0, 5, 2} { // forwards and back, with something open
		if _, err := c.Seek(at, io.SeekStart); err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadFull(c, first); err != nil || first[0] != "content"[at] {
			t.Errorf("at %d is %q, %v", at, first, err)
		}
	}
	if at, err := c.Seek(100, io.SeekStart); err != nil || at != 100 {
		t.Errorf("got %d, %v", at, err)
	}
	if n, err := c.Read(make([]byte, 1)); n != 0 || !errors.Is(err, io.EOF) {
		t.Errorf("read %d, %v behind the end", n, err)
	}
}
