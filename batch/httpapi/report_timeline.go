package httpapi

import (
	"context"
	"net/http"
	"time"

	"github.com/tidegate/tidegate/batch"
)

type interval struct {
	Timestamp isoTime `json:"timestamp"` // when it begins
	Count     int64   `json:"count"`
	Label     string  `json:"label"` // its time of day, UTC
}

type timelineSummary struct {
	TotalBatches   int64     `json:"total_batches"`
	AvgPerInterval float64   `json:"avg_per_interval"`
	MaxInInterval  int64     `json:"max_in_interval"`
	TimeRange      timeRange `json:"time_range"`
}

type timelineReport struct {
	Object    string          `json:"object"` // "batch_timeline"
	Intervals []interval      `json:"intervals"`
	Summary   timelineSummary `json:"summary"`
}

// reportTimeline counts the batches that were created.
func (h *handler) reportTimeline(w http.ResponseWriter, r *http.Request, _ string) error {
	p := h.reportPeriod()
	events, err := h.batches.Analytics().Events(r.Context(), h.tenant(r), p)
	if err != nil {
		return err
	}
	created := make(map[int64]int64)
	for _, e := range events {
		if e.Kind == batch.EventBatchCreated {
			created[e.At.Unix()] = e.Events
		}
	}
	o := timelineReport{Object: "batch_timeline", Intervals: make([]interval, reportSteps), Summary: timelineSummary{TimeRange: rangeOf(p)}}
	for i := range o.Intervals {
		at := p.From.Add(time.Duration(i) * reportStep)
		n := created[at.Unix()]
		o.Intervals[i] = interval{isoTime(at), n, label(at)}
		o.Summary.TotalBatches += n
		o.Summary.MaxInInterval = max(o.Summary.MaxInInterval, n)
	}
	o.Summary.AvgPerInterval = rounded(float64(o.Summary.TotalBatches) / reportSteps)
	return answer(w, o)
}

type tokenInterval struct {
	Timestamp          isoTime `json:"timestamp"`
	InputTokens        int64   `json:"input_tokens"`
	OutputTokens       int64   `json:"output_tokens"`
	TotalTokens        int64   `json:"total_tokens"`
	RequestCompleted   int64   `json:"request_completed"`
	DurationSeconds    float64 `json:"duration_seconds"` // of the batches that were completed in it
	AvgDurationSeconds float64 `json:"avg_duration_seconds"`
	BatchCount         int64   `json:"batch_count"` // that were completed in it
	Label              string  `json:"label"`
}

type tokenSummary struct {
	TotalInputTokens      int64     `json:"total_input_tokens"`
	TotalOutputTokens     int64     `json:"total_output_tokens"`
	TotalTokens           int64     `json:"total_tokens"`
	TotalDurationSeconds  float64   `json:"total_duration_seconds"`
	AvgDurationSeconds    float64   `json:"avg_duration_seconds"`
	TotalBatches          int64     `json:"total_batches"`
	TotalRequestCompleted int64     `json:"total_request_completed"`
	AvgPerInterval        float64   `json:"avg_per_interval"` // tokens
	PeakInterval          int64     `json:"peak_interval"`    // the most tokens of one
	TimeRange             timeRange `json:"time_range"`
}

type tokenReport struct {
	Object    string          `json:"object"` // "token_timeline"
	Intervals []tokenInterval `json:"intervals"`
	Summary   tokenSummary    `json:"summary"`
}

// reportTokens returns the usage of batch lines by time, and the durations of completed
// batches.
func (h *handler) reportTokens(w http.ResponseWriter, r *http.Request, _ string) error {
	p, tenant := h.reportPeriod(), h.tenant(r)
	usage, err := h.batches.Analytics().UsageSeries(r.Context(), tenant, "", p)
	if err != nil {
		return err
	}
	completed, err := h.completedIn(r.Context(), tenant, p)
	if err != nil {
		return err
	}
	o := tokenReport{Object: "token_timeline", Intervals: make([]tokenInterval, reportSteps), Summary: tokenSummary{TimeRange: rangeOf(p)}}
	for i := range o.Intervals {
		at := p.From.Add(time.Duration(i) * reportStep)
		o.Intervals[i] = tokenInterval{Timestamp: isoTime(at), Label: label(at)}
	}
	place := func(at time.Time) int { return int(at.Sub(p.From) / reportStep) }
	s := &o.Summary
	for _, u := range usage {
		if u.Class != "batch" {
			continue
		}
		i := &o.Intervals[place(u.At)]
		i.InputTokens, i.OutputTokens, i.TotalTokens = u.Usage.InputTokens, u.Usage.OutputTokens, u.Usage.TotalTokens
		i.RequestCompleted = u.Requests - u.Failures
		s.TotalInputTokens += i.InputTokens
		s.TotalOutputTokens += i.OutputTokens
		s.TotalTokens += i.TotalTokens
		s.TotalRequestCompleted += i.RequestCompleted
		s.PeakInterval = max(s.PeakInterval, i.TotalTokens)
	}
	var total time.Duration
	var took [reportSteps]time.Duration
	for _, b := range completed {
		at := place(b.CompletedAt)
		took[at] += ran(b)
		total += ran(b)
		o.Intervals[at].BatchCount++
		s.TotalBatches++
	}
	for i := range o.Intervals {
		o.Intervals[i].DurationSeconds = reportSeconds(took[i])
		o.Intervals[i].AvgDurationSeconds = reportSeconds(took[i] / time.Duration(max(o.Intervals[i].BatchCount, 1)))
	}
	s.TotalDurationSeconds = reportSeconds(total)
	s.AvgDurationSeconds = rounded(total.Seconds() / float64(max(s.TotalBatches, 1)))
	s.AvgPerInterval = rounded(float64(s.TotalTokens) / reportSteps)
	return answer(w, o)
}

// longestWindow is the largest completion window.
const longestWindow = 30 * 24 * time.Hour

// completedIn lists the batches that were completed in a period.
func (h *handler) completedIn(ctx context.Context, tenant string, p batch.Period) ([]batch.Batch, error) {
	page, err := h.batches.Analytics().FindBatches(ctx, tenant, batch.BatchFilter{Status: batch.Completed, From: p.From.Add(-longestWindow), Limit: reportSpan})
	if err != nil {
		return nil, err
	}
	var in []batch.Batch
	for _, b := range page.Batches {
		if !b.CompletedAt.Before(p.From) && b.CompletedAt.Before(p.To) {
			in = append(in, b)
		}
	}
	return in, nil
}

// ran returns the duration of a completed batch.
func ran(b batch.Batch) time.Duration { return b.CompletedAt.Sub(b.InProgressAt) }
