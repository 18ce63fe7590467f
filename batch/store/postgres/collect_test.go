package postgres

import (
	"testing"
	"time"

	"github.com/tidegate/tidegate/batch"
	"github.com/tidegate/tidegate/batch/store"
	"github.com/tidegate/tidegate/internal/openai"
)

// TestInputOfABatchThatWasNotSeen selects a file as garbage, then creates a batch
// with it before it is locked, and deletes the file: its content must stay until the
// batch has ended.
func TestInputOfABatchThatWasNotSeen(t *testing.T) {
	s := opened(t, server.NewDatabase(t))
	ctx := t.Context()
	for _, deleted := range []bool{true, false} {
		f := stored(tenant, openai.PurposeBatch)
		f.TTL = time.Hour
		if _, err := s.CreateFile(ctx, *f); err != nil {
			t.Fatal(err)
		}
		b, _, err := s.CreateBatch(ctx, batch.NewBatch{ID: openai.NewID("batch_"), Tenant: tenant, Endpoint: "/v1/embeddings", InputFileID: f.ID, CompletionWindow: "24h", Window: time.Hour})
		if err != nil {
			t.Fatal(err)
		}
		if deleted {
			if err := s.DeleteFile(ctx, tenant, f.ID); err != nil {
				t.Fatal(err)
			}
		}
		var keys []string
		if err := s.write(ctx, "collecting what was found", func(w *tx) error {
			seq, err := one(ctx, w, store.Value[int64], `SELECT seq FROM files WHERE id = $1 FOR UPDATE`, f.ID)
			if err != nil {
				return err
			}
			keys, err = w.unneeded(ctx, []int64{seq})
			return err
		}); err != nil {
			t.Fatal(err)
		}
		if len(keys) > 0 {
			t.Errorf("deleted %t: the content of an input is garbage", deleted)
		}
		if _, err := s.InputFile(ctx, b.ID); err != nil {
			t.Error(err)
		}
	}
}
