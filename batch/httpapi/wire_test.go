package httpapi

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tidegate/tidegate/batch"
	"github.com/tidegate/tidegate/internal/openai"
)

// Compression has BESH's name of the format and its ratio, also of files that
// were stored with others.
func TestWireCompression(t *testing.T) {
	for _, tt := range []struct {
		stored, want string
	}{
		{
			`{"format":"gzip","original_size":1234,"decompressed_size":10000,"compression_ratio":8.1}`,
			`{"format":"gzip","original_size":1234,"decompressed_size":10000,"compression_ratio":0.12}`,
		},
		{
			`{"format":"bzip2","original_size":300,"decompressed_size":100}`,
			`{"format":"bz2","original_size":300,"decompressed_size":100,"compression_ratio":3}`,
		},
		{
			`{"format":"zip","original_size":9,"decompressed_size":0}`,
			`{"format":"zip","original_size":9,"decompressed_size":0,"compression_ratio":9}`,
		},
	} {
		f := batch.File{Compression: new(openai.Compression)}
		if err := json.Unmarshal([]byte(tt.stored), f.Compression); err != nil {
			t.Fatal(err)
		}
		got, err := json.Marshal(wireFile(f).Compression)
		if err != nil || string(got) != tt.want {
			t.Errorf("%s: got %s (%v), want %s", tt.stored, got, err, tt.want)
		}
	}
	if c := wireFile(batch.File{}).Compression; c != nil {
		t.Errorf("file that was not compressed: got %+v, want nil", c)
	}
}

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
		BatchTotals: openai.BatchTotals{RequestTotal: 6, RequestCompleted: 4, RequestFailed: 1, PromptTokens: 1, CompletionTokens: 2, TotalTokens: 3},
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
