package httpapi

import (
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

// reportTimeline counts batches by when they were created.
func (h *handler) reportTimeline(w http.ResponseWriter, r *http.Request, _ string) error {
	p, err := h.reportPeriod(r.Context())
	if err != nil {
		return err
	}
	batches, err := h.reported(r.Context(), h.tenant(r), p.From)
	if err != nil {
		return err
	}
	o := timelineReport{Object: "batch_timeline", Intervals: make([]interval, reportSteps), Summary: timelineSummary{TimeRange: rangeOf(p)}}
	for i := range o.Intervals {
		at := p.From.Add(time.Duration(i) * reportStep)
		o.Intervals[i] = interval{Timestamp: isoTime(at), Label: label(at)}
	}
	for i := range batches {
		if at, ok := stepOf(p, batches[i].CreatedAt); ok {
			o.Intervals[at].Count++
			o.Summary.TotalBatches++
			o.Summary.MaxInInterval = max(o.Summary.MaxInInterval, o.Intervals[at].Count)
		}
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

// reportTokens returns the usage of batches by their end, of those that have not ended
// in the current step, and the durations of completed batches.
func (h *handler) reportTokens(w http.ResponseWriter, r *http.Request, _ string) error {
	p, err := h.reportPeriod(r.Context())
	if err != nil {
		return err
	}
	batches, err := h.reported(r.Context(), h.tenant(r), p.From.Add(-longestWindow))
	if err != nil {
		return err
	}
	o := tokenReport{Object: "token_timeline", Intervals: make([]tokenInterval, reportSteps), Summary: tokenSummary{TimeRange: rangeOf(p)}}
	for i := range o.Intervals {
		at := p.From.Add(time.Duration(i) * reportStep)
		o.Intervals[i] = tokenInterval{Timestamp: isoTime(at), Label: label(at)}
	}
	var took [reportSteps]time.Duration
	for i := range batches {
		b := &batches[i]
		step, ok := reportSteps-1, true
		if b.Status.Terminal() {
			step, ok = stepOf(p, b.EndedAt())
		}
		if !ok {
			continue
		}
		in := &o.Intervals[step]
		in.InputTokens += b.Usage.InputTokens
		in.OutputTokens += b.Usage.OutputTokens
		in.TotalTokens += b.Usage.TotalTokens
		in.RequestCompleted += b.Counts.Completed
		if b.Status == batch.Completed {
			took[step] += ran(*b)
			in.BatchCount++
		}
	}
	s := &o.Summary
	var total time.Duration
	for i := range o.Intervals {
		in := &o.Intervals[i]
		in.DurationSeconds = reportSeconds(took[i])
		in.AvgDurationSeconds = reportSeconds(took[i] / time.Duration(max(in.BatchCount, 1)))
		s.TotalInputTokens += in.InputTokens
		s.TotalOutputTokens += in.OutputTokens
		s.TotalTokens += in.TotalTokens
		s.TotalRequestCompleted += in.RequestCompleted
		s.PeakInterval = max(s.PeakInterval, in.TotalTokens)
		s.TotalBatches += in.BatchCount
		total += took[i]
	}
	s.TotalDurationSeconds = reportSeconds(total)
	s.AvgDurationSeconds = rounded(total.Seconds() / float64(max(s.TotalBatches, 1)))
	s.AvgPerInterval = rounded(float64(s.TotalTokens) / reportSteps)
	return answer(w, o)
}

// longestWindow is the largest completion window.
const longestWindow = 30 * 24 * time.Hour

// ran returns the duration of a completed batch.
func ran(b batch.Batch) time.Duration { return b.CompletedAt.Sub(b.InProgressAt) }
