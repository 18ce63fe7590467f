package dashboard

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"time"

	"github.com/tidegate/tidegate/batch"
	"github.com/tidegate/tidegate/templates"
	"github.com/tidegate/tidegate/upstreams"
)

// upstreamKey returns the key of a server in URLs: its address would not fit.
func upstreamKey(url string) string {
	sum := sha256.Sum256([]byte(url))
	return hex.EncodeToString(sum[:6])
}

func upstreamRow(s templates.Site, u Upstream) templates.UpstreamRow {
	return templates.UpstreamRow{
		URL: u.URL, Page: s.To("upstreams", upstreamKey(u.URL)), State: string(u.State), Reason: u.Reason, Since: u.Since,
		Draining: u.Draining, Models: u.Models, Version: u.Version,
		Live: u.LiveInFlight, Batch: u.BatchInFlight, Others: u.OthersInFlight, BatchLimit: u.BatchSlots, MaxSeqs: maxSeqs(u),
		Limit: u.Limit, LimitWhy: u.LimitReason.Text(), Placement: u.Placement.Text(), Preempted: u.Preemptions,
		HasMetrics: u.HasMetrics, Running: u.Running, Waiting: u.Waiting, KV: u.KVCacheUsage,
		TTFT: latency(u.Recent.TTFT), ITL: latency(u.Recent.ITL), Window: u.Recent.Window, Recent: u.Recent.Requests, Failures: u.Recent.Failures,
	}
}

// maxSeqs returns how many requests a server runs concurrently, 0 if not known.
func maxSeqs(u Upstream) int {
	if u.MaxNumSeqsAssumed {
		return 0
	}
	return u.MaxNumSeqs
}

func latency(l upstreams.Latency) templates.Latency { return templates.Latency(l) }

func batchRow(b Batch, now time.Time) templates.BatchRow {
	row := templates.BatchRow{
		ID: b.ID, InputName: b.InputName, Model: b.Model, State: string(b.Status),
		Bar:  templates.ProgressBar{Total: b.Counts.Total, Completed: b.Counts.Completed, Failed: b.Counts.Failed, InFlight: b.InFlight},
		Rate: b.LineRate, Remaining: b.Remaining, Created: b.CreatedAt, Deadline: b.ExpiresAt,
		Over: b.Status.Terminal(), InputTokens: b.Usage.InputTokens, OutputTokens: b.Usage.OutputTokens, Priority: b.Priority,
	}
	if !b.PausedAt.IsZero() && !row.Over {
		row.State, row.Rate = "paused", 0 // regardless of the last minute
	}
	row.Reason = reason(b)
	row.Misses = !row.Over && b.Misses
	if end := b.EndedAt(); !end.IsZero() {
		row.Took = end.Sub(b.CreatedAt)
	} else if !row.Over {
		row.Took = now.Sub(b.CreatedAt)
	}
	return row
}

// reason returns why a batch failed, ended early or does not progress; "" for others.
func reason(b Batch) string {
	switch {
	case b.Status == batch.Failed && len(b.Batch.Errors) > 0:
		first := b.Batch.Errors[0]
		text := first.Message
		if first.Line != nil {
			text = fmt.Sprintf("line %d: %s", *first.Line, text)
		}
		if more := len(b.Batch.Errors) - 1; more > 0 {
			text += fmt.Sprintf(" (and %d more)", more)
		}
		return text
	case b.Status == batch.Expired:
		return "its deadline passed"
	case b.Status.Terminal():
		return ""
	case b.PausedAt.IsZero():
		return b.Waits
	case b.PauseReason != "":
		return "paused by the gateway: " + b.PauseReason
	default:
		return "paused on request"
	}
}
