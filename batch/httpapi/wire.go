package httpapi

import (
	"context"
	"encoding/json"
	"time"

	"github.com/tidegate/tidegate/batch"
	"github.com/tidegate/tidegate/internal/openai"
)

// wireFile makes the File object.
func wireFile(f batch.File) openai.File {
	return openai.File{
		ID: f.ID, Object: "file", Bytes: f.Bytes, CreatedAt: f.CreatedAt.Unix(), ExpiresAt: unix(f.ExpiresAt),
		Filename: f.Filename, Purpose: f.Purpose, Status: "processed", Compression: wireCompression(f.Compression),
	}
}

// wireCompression makes the compression of a File object, nil for nil. Rows hold
// the name of the format that error messages have, and older ones another ratio.
func wireCompression(c *openai.Compression) *openai.Compression {
	if c == nil {
		return nil
	}
	o := *c
	if o.Format == "bzip2" {
		o.Format = "bz2"
	}
	o.CompressionRatio = rounded(float64(o.OriginalSize) / float64(max(o.DecompressedSize, 1)))
	return &o
}

// wireUpload makes the Upload object; f is the file that it became, if any.
func wireUpload(u batch.Upload, f batch.File) openai.Upload {
	o := openai.Upload{
		ID: u.ID, Object: "upload", Bytes: u.Bytes, CreatedAt: u.CreatedAt.Unix(), ExpiresAt: u.ExpiresAt.Unix(),
		Filename: u.Filename, Purpose: u.Purpose, Status: u.Status,
	}
	if f.ID != "" {
		file := wireFile(f)
		o.File = &file
	}
	return o
}

// wirePart makes the Part object.
func wirePart(p batch.UploadPart) openai.UploadPart {
	return openai.UploadPart{ID: p.ID, Object: "upload.part", CreatedAt: p.CreatedAt.Unix(), UploadID: p.UploadID}
}

// wireBatch makes the Batch object.
func wireBatch(b batch.Batch) openai.Batch {
	o := openai.Batch{
		ID: b.ID, Object: "batch", Endpoint: b.Endpoint, Model: text(b.Model),
		InputFileID: b.InputFileID, CompletionWindow: b.CompletionWindow, Status: string(b.Status),
		OutputFileID: text(b.OutputFileID), ErrorFileID: text(b.ErrorFileID),
		CreatedAt: b.CreatedAt.Unix(), InProgressAt: unix(b.InProgressAt), ExpiresAt: unix(b.ExpiresAt),
		FinalizingAt: unix(b.FinalizingAt), CompletedAt: unix(b.CompletedAt), FailedAt: unix(b.FailedAt),
		ExpiredAt: unix(b.ExpiredAt), CancellingAt: unix(b.CancellingAt), CancelledAt: unix(b.CancelledAt),
		RequestCounts: b.Counts, Usage: b.Usage, Priority: b.Priority, PausedAt: unix(b.PausedAt), PauseReason: text(b.PauseReason),
		BatchTotals: openai.BatchTotals{
			RequestTotal: b.Counts.Total, RequestCompleted: b.Counts.Completed, RequestFailed: b.Counts.Failed,
			PromptTokens: b.Usage.InputTokens, CompletionTokens: b.Usage.OutputTokens, TotalTokens: b.Usage.TotalTokens,
		},
	}
	if len(b.Errors) > 0 {
		o.Errors = &openai.BatchErrors{Object: "list", Data: b.Errors}
	}
	if len(b.Metadata) > 0 {
		o.Metadata = b.Metadata
	}
	return o
}

// wire returns the Batch object.
func (h *handler) wire(ctx context.Context, b batch.Batch) openai.Batch {
	o := wireBatch(b)
	o.Tenant = owner(ctx, b.Tenant)
	o.WaitReason = text(h.batches.WaitReason(ctx, b))
	if currency := h.batches.Currency(); currency != "" || b.Cost != 0 {
		o.Cost = &openai.Cost{Value: json.Number(b.Cost.String()), Currency: currency, UnpricedRequests: b.Unpriced}
	}
	return o
}

// asCreated returns the batch in its initial state, for the response to a repeated request
// with its idempotency key.
func asCreated(b batch.Batch) batch.Batch {
	return batch.Batch{
		ID: b.ID, Tenant: b.Tenant, Endpoint: b.Endpoint, InputFileID: b.InputFileID, CompletionWindow: b.CompletionWindow,
		Metadata: b.Metadata, Priority: b.Priority, OutputTTL: b.OutputTTL,
		Status: batch.Validating, CreatedAt: b.CreatedAt, ExpiresAt: b.ExpiresAt,
	}
}

// list makes the envelope of a page.
func list[T, W any](page []T, more bool, wire func(T) W, id func(T) string) openai.List[W] {
	objects := make([]W, len(page))
	for i, item := range page {
		objects[i] = wire(item)
	}
	l := openai.List[W]{Object: "list", Data: objects, HasMore: more}
	if len(page) > 0 {
		first, last := id(page[0]), id(page[len(page)-1])
		l.FirstID, l.LastID = &first, &last
	}
	return l
}

// unix returns a time in seconds, nil for none.
func unix(t time.Time) *int64 {
	if t.IsZero() {
		return nil
	}
	s := t.Unix()
	return &s
}

// text returns a pointer to a string, nil for "".
func text(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}
