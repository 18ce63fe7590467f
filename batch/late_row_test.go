package batch_test

import (
	"context"
	"fmt"
	"io"
	"strings"
	"sync/atomic"
	"testing"

	"go.uber.org/zap"

	"github.com/tidegate/tidegate/batch"
	"github.com/tidegate/tidegate/batch/files/local"
	"github.com/tidegate/tidegate/batch/queue/memory"
	"github.com/tidegate/tidegate/batch/store/sqlite"
	"github.com/tidegate/tidegate/internal/openai"
)

// lateCommit is a store that says that it is away while it makes a file, and has
// made it only after it was asked for it.
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

// A commit can be under way when the row is looked for: the content stays, so
// that no row is without one.
func TestRowThatComesLateHasItsContent(t *testing.T) {
	h := newHouse(t, batch.Config{})
	store := &lateCommit{Store: sqlite.New(sqlite.Config{Path: h.dir + "/tidegate.db"})}
	h.start(store, local.New(local.Config{Dir: h.dir + "/files"}))
	files := h.engine.Files(batch.FileLimits{})
	in, err := files.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	content := input(3)
	if _, err := io.Copy(in, strings.NewReader(content)); err != nil {
		t.Fatal(err)
	}
	if _, err := in.Commit(t.Context(), tenant, batch.CommitRequest{Filename: "in.jsonl", Purpose: openai.PurposeBatch}); err == nil {
		t.Fatal("the upload was accepted")
	}
	if err := in.Abort(); err != nil {
		t.Fatal(err)
	}
	listed, _, err := store.Files(t.Context(), tenant, batch.FileQuery{Limit: 10})
	if err != nil || len(listed) != 1 {
		t.Fatalf("%d files are listed: %v", len(listed), err)
	}
	r, err := local.New(local.Config{Dir: h.dir + "/files"}).Read(t.Context(), listed[0].Key, 0, listed[0].Bytes)
	if err != nil {
		t.Fatalf("the row has no content: %v", err)
	}
	defer r.Close()
	if got, err := io.ReadAll(r); err != nil || string(got) != content {
		t.Errorf("got %q: %v", got, err)
	}
}

// start runs an engine on these drivers.
func (h *house) start(store batch.Store, files batch.Files) {
	h.t.Helper()
	h.engine = batch.NewEngine(h.cfg, store, memory.New(), files, h.pool, zap.NewNop())
	if err := h.engine.Open(h.t.Context()); err != nil {
		h.t.Fatal(err)
	}
	h.engine.Start()
	h.t.Cleanup(func() { h.close(0) })
}
