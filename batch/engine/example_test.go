package engine_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"go.uber.org/zap"

	"github.com/tidegate/tidegate/batch"
	"github.com/tidegate/tidegate/batch/batchtest"
	"github.com/tidegate/tidegate/batch/engine"
	"github.com/tidegate/tidegate/batch/files/local"
	"github.com/tidegate/tidegate/batch/queue/memory"
	"github.com/tidegate/tidegate/batch/store/sqlite"
	"github.com/tidegate/tidegate/batch/upload"
	"github.com/tidegate/tidegate/internal/openai"
)

// An Engine runs batches with a store, a queue, a file store and a dispatcher, which
// sends the lines. Files are uploaded with the service of the package upload.
func ExampleEngine() {
	if err := runBatch(context.Background()); err != nil {
		fmt.Println(err)
	}
	// Output: completed: 1 of 1 lines
}

func runBatch(ctx context.Context) error {
	dir, err := os.MkdirTemp("", "tidegate")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	store := sqlite.New(sqlite.Config{Path: filepath.Join(dir, "tidegate.db")})
	contents := local.New(local.Config{Dir: filepath.Join(dir, "files")})
	dispatcher := batchtest.NewPool() // answers each line
	e := engine.NewEngine(batch.Config{}, store, memory.New(), contents, dispatcher, zap.NewNop())
	if err := e.Open(ctx); err != nil {
		return err
	}
	e.Start()
	defer func() { _ = e.Stop(ctx) }()

	files := upload.Service{Store: e.Store(), Files: e.Files()}
	in, err := files.Begin(ctx, batch.DefaultTenant, 0)
	if err != nil {
		return err
	}
	defer func() { _ = in.Abort() }()
	line := `{"custom_id":"a","method":"POST","url":"/v1/chat/completions","body":{"model":"m","messages":[{"role":"user","content":"hi"}]}}`
	if _, err := strings.NewReader(line).WriteTo(in); err != nil {
		return err
	}
	input, err := in.Commit(ctx, batch.DefaultTenant, upload.CommitRequest{Filename: "in.jsonl", Purpose: openai.PurposeBatch})
	if err != nil {
		return err
	}
	b, err := e.CreateBatch(ctx, batch.DefaultTenant, batch.CreateRequest{
		InputFileID: input.ID, Endpoint: "/v1/chat/completions", CompletionWindow: "24h", Window: 24 * time.Hour,
	})
	for err == nil && !b.Status.Terminal() {
		time.Sleep(10 * time.Millisecond)
		b, err = e.Batch(ctx, batch.DefaultTenant, b.ID)
	}
	if err != nil {
		return err
	}
	fmt.Printf("%s: %d of %d lines\n", b.Status, b.Counts.Completed, b.Counts.Total)
	return nil
}
