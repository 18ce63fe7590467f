package clients

import (
	"net/http"
	"slices"
	"testing"

	"github.com/openai/openai-go/v3"

	"github.com/tidegate/tidegate/integration/tidegatetest"
)

func (c goClient) testBatches(t *testing.T) {
	t.Run("run", func(t *testing.T) {
		input := batchLines(t, "run", 50, "")
		b := c.poll(t, c.submit(t, "run", input).ID, ended)
		if b.Status != openai.BatchStatusCompleted || b.RequestCounts.Completed != 50 || b.ErrorFileID != "" || b.Usage.TotalTokens == 0 || b.Model != tidegatetest.Model {
			t.Fatalf("batch %s", b.RawJSON())
		}
		tidegatetest.CheckResults(t, []byte(input), []byte(c.content(t, b.OutputFileID)), nil)
	})
	t.Run("failing lines", func(t *testing.T) {
		input := batchLines(t, "good", 3, "") + batchLines(t, "bad", 2, "[[sim:status=400]]")
		b := c.poll(t, c.submit(t, "mixed", input).ID, ended)
		if b.Status != openai.BatchStatusCompleted || b.RequestCounts.Completed != 3 || b.RequestCounts.Failed != 2 {
			t.Fatalf("batch %s", b.RawJSON())
		}
		tidegatetest.CheckResults(t, []byte(input), []byte(c.content(t, b.OutputFileID)), []byte(c.content(t, b.ErrorFileID)))
	})
	t.Run("fails validation", func(t *testing.T) {
		b := c.poll(t, c.submit(t, "invalid", batchLines(t, "invalid", 1, "")+"no json\n").ID, ended)
		if b.Status != openai.BatchStatusFailed || len(b.Errors.Data) != 1 || b.Errors.Data[0].Code != "invalid_json_line" || b.Errors.Data[0].Line != 2 {
			t.Errorf("batch %s", b.RawJSON())
		}
	})
	t.Run("cancel", func(t *testing.T) {
		input := batchLines(t, "cancelled", 5, "") + batchLines(t, "hanging", 5, "[[sim:hang]]")
		b := c.submit(t, "cancelled", input)
		c.poll(t, b.ID, func(b *openai.Batch) bool { return b.RequestCounts.Completed == 5 })
		b = must[*openai.Batch](t)(c.Batches.Cancel(t.Context(), b.ID))
		if b.Status != openai.BatchStatusCancelling && b.Status != openai.BatchStatusCancelled {
			t.Errorf("batch %s", b.RawJSON())
		}
		b = c.poll(t, b.ID, ended)
		if b.Status != openai.BatchStatusCancelled || len(c.results(t, b.OutputFileID)) != 5 || len(c.results(t, b.ErrorFileID)) != 5 {
			t.Errorf("batch %s", b.RawJSON())
		}
	})
	t.Run("cancel when completed", func(t *testing.T) {
		b := c.poll(t, c.submit(t, "late", batchLines(t, "late", 1, "")).ID, ended)
		_, err := c.Batches.Cancel(t.Context(), b.ID)
		wantError(t, err, http.StatusConflict, "", "")
	})
	t.Run("list auto-paging", c.testListBatches)
	t.Run("refused", func(t *testing.T) {
		_, err := c.Batches.Get(t.Context(), "batch_nowhere")
		wantError(t, err, http.StatusNotFound, "", "")
		_, err = c.Batches.New(t.Context(), openai.BatchNewParams{InputFileID: "file-x", Endpoint: "/v1/fishing", CompletionWindow: "24h"})
		wantError(t, err, http.StatusBadRequest, "endpoint", "invalid_value")
		_, err = c.Batches.New(t.Context(), openai.BatchNewParams{InputFileID: "file-x", Endpoint: openai.BatchNewParamsEndpointV1ChatCompletions, CompletionWindow: "soon"})
		wantError(t, err, http.StatusBadRequest, "completion_window", "invalid_value")
	})
}

func (c goClient) testListBatches(t *testing.T) {
	file := must[*openai.FileObject](t)(c.upload(t.Context(), "listed", batchLines(t, "listed", 1, "")))
	var mine []string
	for range 7 {
		mine = append(mine, must[*openai.Batch](t)(c.Batches.New(t.Context(), openai.BatchNewParams{
			InputFileID: file.ID, Endpoint: openai.BatchNewParamsEndpointV1ChatCompletions,
			CompletionWindow: openai.BatchNewParamsCompletionWindow24h,
		})).ID)
	}
	slices.Reverse(mine)
	pager := c.Batches.ListAutoPaging(t.Context(), openai.BatchListParams{Limit: openai.Int(3)})
	var got []string
	for pager.Next() {
		got = append(got, pager.Current().ID)
	}
	if err := pager.Err(); err != nil {
		t.Fatal(err)
	}
	if len(got) < 7 || !slices.Equal(got[:7], mine) || len(slices.Compact(slices.Sorted(slices.Values(got)))) != len(got) {
		t.Errorf("listed %q, want first %q", got, mine)
	}
}
