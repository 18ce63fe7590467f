package cli

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"text/tabwriter"
	"time"

	"github.com/tidegate/tidegate/internal/openai"
)

// describe writes all fields of a batch.
func describe(w io.Writer, b openai.Batch) {
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	row := func(name, format string, args ...any) {
		fmt.Fprintf(table, "%s\t%s\n", name, clean(fmt.Sprintf(format, args...)))
	}
	at := func(name string, unix *int64) {
		if unix != nil {
			row(name, "%s", time.Unix(*unix, 0).Format(time.DateTime))
		}
	}
	c := b.RequestCounts
	row("id", "%s", b.ID)
	row("status", "%s", batchState(b))
	row("endpoint", "%s", b.Endpoint)
	row("model", "%s", orDash(b.Model))
	row("lines", "%d: %d completed, %d failed", c.Total, c.Completed, c.Failed)
	row("tokens", "%d in (%d cached), %d out", b.Usage.InputTokens, b.Usage.InputTokensDetails.CachedTokens, b.Usage.OutputTokens)
	row("input", "%s", b.InputFileID)
	row("output", "%s", orDash(b.OutputFileID))
	row("errors", "%s", orDash(b.ErrorFileID))
	if b.Priority != 0 {
		row("priority", "%d", b.Priority)
	}
	at("created", &b.CreatedAt)
	at("in progress", b.InProgressAt)
	at("paused", b.PausedAt)
	if b.WaitReason != nil {
		row("waits", "%s", *b.WaitReason)
	}
	at("finalizing", b.FinalizingAt)
	at("completed", b.CompletedAt)
	at("failed", b.FailedAt)
	at("cancelling", b.CancellingAt)
	at("cancelled", b.CancelledAt)
	at("expired", b.ExpiredAt)
	if !ended(b.Status) {
		at("expires", b.ExpiresAt)
	}
	for _, key := range slices.Sorted(maps.Keys(b.Metadata)) {
		row("metadata", "%s=%s", key, b.Metadata[key])
	}
	if b.Errors != nil {
		for _, e := range b.Errors.Data {
			row("error", "%s", finding(e))
		}
	}
	_ = table.Flush() // w reports its errors
}

// finding formats a finding of the validation.
func finding(e openai.BatchError) string {
	where := ""
	if e.Line != nil {
		where = fmt.Sprintf("line %d: ", *e.Line)
	}
	return clean(fmt.Sprintf("%s%s: %s", where, e.Code, e.Message))
}
