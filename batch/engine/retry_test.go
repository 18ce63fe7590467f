package engine_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/tidegate/tidegate/batch"
	"github.com/tidegate/tidegate/batch/batchtest"
	"github.com/tidegate/tidegate/batch/engine"
	"github.com/tidegate/tidegate/internal/openai"
)

// failEvery returns an answer that refuses every nth line.
func failEvery(n int) func(context.Context, string, int) (batch.Answer, error) {
	return func(_ context.Context, id string, _ int) (batch.Answer, error) {
		var i int
		if _, err := fmt.Sscanf(id, "line-%d", &i); err != nil {
			return batch.Answer{}, err
		}
		if i%n == 0 {
			return batchtest.Status(http.StatusBadRequest, `{"error":{"message":"no"},"long":"`+strings.Repeat("x", 40<<10)+`"}`), nil
		}
		return batchtest.OK(id), nil
	}
}

func (h harness) retry(id, key string) (batch.Batch, error) {
	return h.Engine.RetryFailed(h.T.Context(), tenant, id, engine.RetryRequest{Files: h.Files(), IdempotencyKey: key})
}

func (h harness) content(fileID string) string {
	h.T.Helper()
	_, content, err := batch.OpenFile(h.T.Context(), h.Engine.Store(), h.Engine.Files(), tenant, fileID)
	if err != nil {
		h.T.Fatal(err)
	}
	defer content.Close()
	b, err := io.ReadAll(content)
	if err != nil {
		h.T.Fatal(err)
	}
	return string(b)
}

func TestRetryOfFailedLines(t *testing.T) {
	t.Parallel()
	h := newHarness(t, batch.Config{})
	h.Pool.Answer = failEvery(7)
	h.Open()
	lines := strings.SplitAfter(batchtest.Input(200), "\n")
	odd := strings.Join(lines[:50], "\r\n\n  ") + "  " + strings.TrimSuffix(strings.Join(lines[50:], ""), "\n")
	first, err := h.Engine.CreateBatch(t.Context(), tenant, batch.CreateRequest{
		InputFileID: h.Upload(odd), Endpoint: "/v1/chat/completions", CompletionWindow: "90m", Window: 90 * time.Minute,
		Metadata: map[string]string{"k": "v"}, Priority: 5, OutputTTL: 2 * time.Hour,
	})
	if err != nil {
		t.Fatal(err)
	}
	if b := h.Wait(first.ID); b.Counts.Failed != 29 {
		t.Fatalf("%+v", b)
	}
	h.Pool.Set(func() { h.Pool.Answer = nil })
	made, err := h.retry(first.ID, "key")
	if err != nil {
		t.Fatal(err)
	}
	if made.Endpoint != first.Endpoint || made.CompletionWindow != "90m" || made.Priority != 5 || made.OutputTTL != 2*time.Hour ||
		len(made.Metadata) != 2 || made.Metadata["k"] != "v" || made.Metadata[engine.RetryOf] != first.ID {
		t.Errorf("%+v", made)
	}
	var want strings.Builder
	for i := 0; i < 200; i += 7 {
		want.WriteString(lines[i])
	}
	if got := h.content(made.InputFileID); got != want.String() {
		t.Errorf("input of the retry:\n%s\nwant\n%s", got, &want)
	}
	b := h.Wait(made.ID)
	if b.Status != batch.Completed || b.Counts != (openai.RequestCounts{Total: 29, Completed: 29}) {
		t.Errorf("%+v", b)
	}
	for _, c := range []struct {
		id, key string
		want    error
	}{{first.ID, "key", nil}, {first.ID, "other", batch.ErrNotFound}, {made.ID, "key", batch.ErrKeyReused}} {
		got, err := h.Engine.RetriedWith(t.Context(), tenant, c.id, c.key)
		if !errors.Is(err, c.want) || err == nil && got.ID != made.ID {
			t.Errorf("%s with %q was retried as %q, %v; want %v", c.id, c.key, got.ID, err, c.want)
		}
	}
	files, _, err := h.Store.Files(t.Context(), tenant, batch.FileQuery{Purpose: openai.PurposeBatch, Limit: 100})
	if err != nil {
		t.Fatal(err)
	}
	again, err := h.retry(first.ID, "key")
	if err != nil || again.ID != made.ID {
		t.Errorf("again: %s, %v; want %s", again.ID, err, made.ID)
	}
	if now, _, err := h.Store.Files(t.Context(), tenant, batch.FileQuery{Purpose: openai.PurposeBatch, Limit: 100}); err != nil || len(now) != len(files) {
		t.Errorf("%d input files, %d after a repeated request, %v", len(files), len(now), err)
	}
	if _, err := h.retry(made.ID, "key"); !conflict(err, batch.ErrNoFailures) && !errors.Is(err, batch.ErrKeyReused) {
		t.Errorf("the key with another batch: %v", err)
	}
}

func conflict(err, reason error) bool {
	e, ok := errors.AsType[*batch.StateError](err)
	return ok && errors.Is(e.Err, reason)
}

// Concurrent retries at several gateways with one idempotency key make one batch with one
// input.
func TestRetryAtOnce(t *testing.T) {
	t.Parallel()
	s := batchtest.NewCluster(t, batch.Config{}, 2)
	one := s.Members[0]
	for _, h := range s.Members {
		h.Pool.Set(func() { h.Pool.Answer = failEvery(2) })
	}
	id := one.Create(one.Upload(batchtest.Input(20)))
	one.Wait(id)
	answers := make(chan string)
	for i := range 8 {
		go func() {
			b, err := harness{s.Members[i%2]}.retry(id, "key")
			answers <- fmt.Sprint(b.ID, err)
		}()
	}
	distinct := make(map[string]bool)
	for range 8 {
		distinct[<-answers] = true
	}
	if len(distinct) != 1 {
		t.Errorf("answers: %v", distinct)
	}
	files, _, err := s.Store.Files(t.Context(), tenant, batch.FileQuery{Purpose: openai.PurposeBatch, Limit: 100})
	if err != nil || len(files) != 2 {
		t.Errorf("%d input files, want 2; %v", len(files), err)
	}
	for answer := range distinct {
		one.Wait(strings.TrimSuffix(answer, "<nil>"))
	}
}

// Lines that never ran are retried as well.
func TestRetryOfCancelledLines(t *testing.T) {
	t.Parallel()
	h := newHarness(t, batch.Config{MaxInFlight: 20})
	h.Pool.Answer, _ = batchtest.First(30)
	h.Open()
	id := h.Create(h.Upload(batchtest.Input(100)))
	h.WaitCounted(id, 30)
	if _, err := h.retry(id, ""); !conflict(err, batch.ErrNotEnded) {
		t.Errorf("while it runs: %v", err)
	}
	if _, err := h.Engine.CancelBatch(t.Context(), tenant, id); err != nil {
		t.Fatal(err)
	}
	b := h.Wait(id)
	h.Pool.Set(func() { h.Pool.Answer = nil })
	made, err := h.retry(id, "")
	if err != nil {
		t.Fatal(err)
	}
	retried := h.Wait(made.ID)
	done := make(map[string]int)
	for _, r := range append(h.Read(b.OutputFileID), h.Read(retried.OutputFileID)...) {
		done[r.CustomID]++
	}
	if len(done) != 100 || retried.Counts.Completed != 100-b.Counts.Completed {
		t.Errorf("%d lines done, %+v and %+v", len(done), b.Counts, retried.Counts)
	}
}

// The metadata of a retry are checked as those of a new batch are. It finds a retry that names
// an address for its webhook that the configuration does not allow any more.
func TestRetryChecksMetadata(t *testing.T) {
	t.Parallel()
	h := newHarness(t, batch.Config{})
	h.Pool.Answer = failEvery(2)
	h.Open()
	b, err := h.Engine.CreateBatch(t.Context(), tenant, batch.CreateRequest{
		InputFileID: h.Upload(batchtest.Input(4)), Endpoint: "/v1/chat/completions", CompletionWindow: "24h", Window: 24 * time.Hour, Metadata: map[string]string{"k": "v"},
	})
	if err != nil {
		t.Fatal(err)
	}
	h.Wait(b.ID)
	h.Engine.CheckMetadata(func(of string, metadata map[string]string) error {
		if of == tenant && metadata["k"] == "v" {
			return &batch.MetadataError{Key: "k", Err: errors.New("not allowed")}
		}
		return nil
	})
	made, err := h.retry(b.ID, "key")
	if e, ok := errors.AsType[*batch.MetadataError](err); !ok || e.Key != "k" {
		t.Errorf("got %q, %v; want an error about the metadata k", made.ID, err)
	}
	h.Engine.CheckMetadata(nil)
	if _, err := h.retry(b.ID, "key"); err != nil {
		t.Errorf("with metadata that are allowed: %v", err)
	}
}

func TestRetryIsRefused(t *testing.T) {
	t.Parallel()
	h := newHarness(t, batch.Config{})
	h.Pool.Answer = failEvery(2)
	h.Open()
	if _, err := h.retry("batch_unknown", ""); !errors.Is(err, batch.ErrNotFound) {
		t.Errorf("unknown: %v", err)
	}
	invalid := h.Wait(h.Create(h.Upload(`{"custom_id":1}`)))
	if _, err := h.retry(invalid.ID, ""); !conflict(err, batch.ErrNotValidated) {
		t.Errorf("failed: %v", err)
	}
	upload := h.Upload(batchtest.Input(10))
	b := h.Wait(h.Create(upload))
	if _, err := h.Engine.RetryFailed(t.Context(), "other", b.ID, engine.RetryRequest{}); !errors.Is(err, batch.ErrNotFound) {
		t.Errorf("another tenant's: %v", err)
	}
	if err := h.Store.DeleteFile(t.Context(), tenant, upload); err != nil {
		t.Fatal(err)
	}
	h.Close(0)
	h.Config.CollectInterval = time.Millisecond
	h.Open()
	batchtest.Until(t, "the input is gone", func() bool {
		_, err := h.retry(b.ID, "")
		e, ok := errors.AsType[*batch.StateError](err)
		return ok && conflict(err, batch.ErrInputGone) && e.FileID == upload
	})
	if err := h.Store.DeleteFile(t.Context(), tenant, b.ErrorFileID); err != nil {
		t.Fatal(err)
	}
	if _, err := h.retry(b.ID, ""); !conflict(err, batch.ErrInputGone) && !conflict(err, batch.ErrErrorsGone) {
		t.Errorf("without its error file: %v", err)
	}
}
