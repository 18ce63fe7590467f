package upload_test

import (
	"context"
	"fmt"
	"io"
	"path/filepath"
	"sync/atomic"
	"testing"

	"github.com/tidegate/tidegate/batch"
	"github.com/tidegate/tidegate/batch/files/local"
	"github.com/tidegate/tidegate/batch/store/sqlite"
	"github.com/tidegate/tidegate/batch/upload"
	"github.com/tidegate/tidegate/internal/openai"
)

// lateCommit is a store that reports an unknown outcome when it creates a file,
// and creates it only after the file was looked up.
type lateCommit struct {
	batch.Store
	late atomic.Pointer[batch.NewFile]
}

func (s *lateCommit) CreateFile(_ context.Context, f batch.NewFile) (batch.File, error) {
	s.late.Store(&f)
	return batch.File{}, fmt.Errorf("connection lost: %w: %w", batch.ErrUnavailable, batch.ErrUnknown)
}

func (s *lateCommit) File(ctx context.Context, tenant, id string) (batch.File, error) {
	found, err := s.Store.File(ctx, tenant, id)
	if f := s.late.Swap(nil); f != nil {
		if _, err := s.Store.CreateFile(ctx, *f); err != nil {
			return batch.File{}, err
		}
	}
	return found, err
}

// A commit can be running when the row is looked up: the content stays, so that
// no row is without content.
func TestRowThatComesLateHasItsContent(t *testing.T) {
	dir := t.TempDir()
	store := &lateCommit{Store: sqlite.New(sqlite.Config{Path: filepath.Join(dir, "tidegate.db")})}
	contents := local.New(local.Config{Dir: filepath.Join(dir, "files"), Reserve: 1})
	for _, part := range []interface {
		Open(ctx context.Context) error
		Close() error
	}{store, contents} {
		if err := part.Open(t.Context()); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := part.Close(); err != nil {
				t.Error(err)
			}
		})
	}
	files := &upload.Service{Store: store, Files: contents}
	in, err := files.Begin(t.Context(), batch.DefaultTenant, 0)
	if err != nil {
		t.Fatal(err)
	}
	const content = `{"custom_id":"1"}` + "\n"
	if _, err := io.WriteString(in, content); err != nil {
		t.Fatal(err)
	}
	commit := upload.CommitRequest{Filename: "in.jsonl", Purpose: openai.PurposeBatch}
	if _, err := in.Commit(t.Context(), batch.DefaultTenant, commit); err == nil {
		t.Fatal("the upload was accepted, want an error")
	}
	if err := in.Abort(); err != nil {
		t.Fatal(err)
	}
	listed, _, err := store.Files(t.Context(), batch.DefaultTenant, batch.FileQuery{Limit: 10})
	if err != nil || len(listed) != 1 {
		t.Fatalf("got %d files and error %v, want 1 file", len(listed), err)
	}
	r, err := contents.Read(t.Context(), listed[0].Key, 0, listed[0].Bytes)
	if err != nil {
		t.Fatalf("reading the content of the row: %v", err)
	}
	defer r.Close()
	if got, err := io.ReadAll(r); err != nil || string(got) != content {
		t.Errorf("got %q, error %v, want %q", got, err, content)
	}
}
