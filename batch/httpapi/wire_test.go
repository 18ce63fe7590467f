package httpapi

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tidegate/tidegate/batch"
	"github.com/tidegate/tidegate/internal/openai"
)

func TestWireBatch(t *testing.T) {
	at := func(s int64) time.Time { return time.Unix(s, 999) }
	p := func(s int64) *int64 { return &s }
	model, output, errs := "m", "file-o", "file-e"
	b := batch.Batch{
		ID: "batch_1", Tenant: "t", Endpoint: "/e", InputFileID: "file-i", CompletionWindow: "24h", Metadata: map[string]string{"k": "v"},
		Priority: 3, Status: batch.Completed, Ending: batch.Completed, Model: model,
		Errors: []openai.BatchError{{Code: "c", Message: "m"}},
		Counts: openai.RequestCounts{Total: 6, Completed: 4, Failed: 1}, Usage: openai.Usage{InputTokens: 1, OutputTokens: 2, TotalTokens: 3},
		OutputFileID: output, ErrorFileID: errs,
		CreatedAt: at(1), ExpiresAt: at(2), InProgressAt: at(3), FinalizingAt: at(4), CompletedAt: at(5),
		FailedAt: at(6), ExpiredAt: at(7), CancellingAt: at(8), CancelledAt: at(9), PausedAt: at(10),
	}
	want := openai.Batch{
		ID: "batch_1", Object: "batch", Endpoint: "/e", Model: &model, Errors: &openai.BatchErrors{Object: "list", Data: b.Errors},
		InputFileID: "file-i", CompletionWindow: "24h", Status: "completed", OutputFileID: &output, ErrorFileID: &errs,
		CreatedAt: 1, ExpiresAt: p(2), InProgressAt: p(3), FinalizingAt: p(4), CompletedAt: p(5),
		FailedAt: p(6), ExpiredAt: p(7), CancellingAt: p(8), CancelledAt: p(9),
		RequestCounts: b.Counts, Usage: b.Usage, Metadata: b.Metadata, Priority: 3, PausedAt: p(10),
	}
	if diff := cmp.Diff(want, wireBatch(b)); diff != "" {
		t.Errorf("batch (-want +got):\n%s", diff)
	}
	created := openai.Batch{
		ID: "batch_1", Object: "batch", Endpoint: "/e", InputFileID: "file-i", CompletionWindow: "24h", Status: "validating",
		CreatedAt: 1, ExpiresAt: p(2), Metadata: b.Metadata, Priority: 3,
	}
	if diff := cmp.Diff(created, wireBatch(asCreated(b))); diff != "" {
		t.Errorf("as it was created (-want +got):\n%s", diff)
	}
}
