package httpapi

import (
	"context"
	"math"
	"net/http"
	"time"

	"github.com/tidegate/tidegate/batch"
)

// The reports of the batch server BESH, whose dashboards and scripts go on
// working with them. Costs are not known here: they are 0.

// Reports is what the API needs for reports.
type Reports interface {
	Estimates(ctx context.Context, batches ...batch.Batch) (map[string]batch.Estimate, error)
	Analytics() batch.AnalyticsStore
	Capacity() batch.Capacity
}

// The time that reports are about, in steps of 15 minutes.
const (
	reportStep  = 15 * time.Minute
	reportSteps = 96
	reportTime  = reportSteps * reportStep
)

// reportPeriod ends with the present step.
func (h *handler) reportPeriod() batch.Period {
	end := h.now().UTC().Truncate(reportStep).Add(reportStep)
	return batch.Period{From: end.Add(-reportTime), To: end, Step: reportStep}
}

type statusReport struct {
	ActiveBatches        int64 `json:"active_batches"`
	QueuedBatches        int64 `json:"queued_batches"`
	MaxWorkers           int   `json:"max_workers"`
	MaxConcurrentBatches int   `json:"max_concurrent_batches"`
	TotalBatchesInDB     int64 `json:"total_batches_in_db"`
	ActiveBatchesInDB    int64 `json:"active_batches_in_db"`
}

// reportStatus counts as active what is in progress, ends or is cancelled, up
// to as many as are served at a time, and the rest as queued.
func (h *handler) reportStatus(w http.ResponseWriter, r *http.Request, _ string) error {
	states, err := h.batches.Analytics().BatchStates(r.Context(), h.tenant(r))
	if err != nil {
		return err
	}
	capacity := h.batches.Capacity()
	o := statusReport{MaxWorkers: capacity.MaxInFlight, MaxConcurrentBatches: capacity.MaxConcurrentBatches}
	for status, n := range states {
		o.TotalBatchesInDB += n
		if !status.Terminal() {
			o.ActiveBatchesInDB += n
		}
	}
	o.ActiveBatches = min(o.ActiveBatchesInDB-states[batch.Validating], int64(capacity.MaxConcurrentBatches))
	o.QueuedBatches = o.ActiveBatchesInDB - o.ActiveBatches
	return answer(w, o)
}

type interval struct {
	Timestamp int64  `json:"timestamp"` // unix seconds, when it begins
	Count     int64  `json:"count"`
	Label     string `json:"label"` // its time of day, UTC
}

type timelineSummary struct {
	TotalBatches   int64   `json:"total_batches"`
	AvgPerInterval float64 `json:"avg_per_interval"`
	MaxInInterval  int64   `json:"max_in_interval"`
	TimeRange      string  `json:"time_range"`
}

type timelineReport struct {
	Object    string          `json:"object"` // "batch_timeline"
	Intervals []interval      `json:"intervals"`
	Summary   timelineSummary `json:"summary"`
}

// timeRange is how BESH names the last day.
const timeRange = "24 hours"

func label(t time.Time) string { return t.Format("15:04") }

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
	o := timelineReport{Object: "batch_timeline", Intervals: make([]interval, reportSteps), Summary: timelineSummary{TimeRange: timeRange}}
	for i := range o.Intervals {
		at := p.From.Add(time.Duration(i) * reportStep)
		n := created[at.Unix()]
		o.Intervals[i] = interval{at.Unix(), n, label(at)}
		o.Summary.TotalBatches += n
		o.Summary.MaxInInterval = max(o.Summary.MaxInInterval, n)
	}
	o.Summary.AvgPerInterval = rounded(float64(o.Summary.TotalBatches) / reportSteps)
	return answer(w, o)
}

// rounded has two decimals.
func rounded(f float64) float64 { return math.Round(100*f) / 100 }

type tokenInterval struct {
	Timestamp          int64   `json:"timestamp"`
	InputTokens        int64   `json:"input_tokens"`
	OutputTokens       int64   `json:"output_tokens"`
	TotalTokens        int64   `json:"total_tokens"`
	DurationSeconds    float64 `json:"duration_seconds"` // of the batches that ended in it
	AvgDurationSeconds float64 `json:"avg_duration_seconds"`
	BatchCount         int64   `json:"batch_count"` // that ended in it
	Label              string  `json:"label"`
}

type tokenSummary struct {
	TotalInputTokens     int64   `json:"total_input_tokens"`
	TotalOutputTokens    int64   `json:"total_output_tokens"`
	TotalTokens          int64   `json:"total_tokens"`
	TotalDurationSeconds float64 `json:"total_duration_seconds"`
	AvgDurationSeconds   float64 `json:"avg_duration_seconds"`
	AvgTokensPerInterval float64 `json:"avg_tokens_per_interval"`
	MaxTokensInInterval  int64   `json:"max_tokens_in_interval"`
	TotalBatches         int64   `json:"total_batches"`
	TimeRange            string  `json:"time_range"`
}

type tokenReport struct {
	Object    string          `json:"object"` // "token_timeline"
	Intervals []tokenInterval `json:"intervals"`
	Summary   tokenSummary    `json:"summary"`
}

// reportTokens sums what lines of batches used.
func (h *handler) reportTokens(w http.ResponseWriter, r *http.Request, _ string) error {
	p, tenant := h.reportPeriod(), h.tenant(r)
	usage, err := h.batches.Analytics().UsageSeries(r.Context(), tenant, "", p)
	if err != nil {
		return err
	}
	events, err := h.batches.Analytics().Events(r.Context(), tenant, p)
	if err != nil {
		return err
	}
	o := tokenReport{Object: "token_timeline", Intervals: make([]tokenInterval, reportSteps), Summary: tokenSummary{TimeRange: timeRange}}
	for i := range o.Intervals {
		at := p.From.Add(time.Duration(i) * reportStep)
		o.Intervals[i] = tokenInterval{Timestamp: at.Unix(), Label: label(at)}
	}
	place := func(at time.Time) *tokenInterval { return &o.Intervals[at.Sub(p.From)/reportStep] }
	s := &o.Summary
	for _, u := range usage {
		if u.Class != "batch" {
			continue
		}
		i := place(u.At)
		i.InputTokens, i.OutputTokens, i.TotalTokens = u.Usage.InputTokens, u.Usage.OutputTokens, u.Usage.TotalTokens
		s.TotalInputTokens += i.InputTokens
		s.TotalOutputTokens += i.OutputTokens
		s.TotalTokens += i.TotalTokens
		s.MaxTokensInInterval = max(s.MaxTokensInInterval, i.TotalTokens)
	}
	for _, e := range events {
		if e.Kind != batch.EventBatchEnded {
			continue
		}
		i := place(e.At)
		i.BatchCount = e.Events
		i.DurationSeconds = rounded(float64(e.Amount) / 1e6)
		i.AvgDurationSeconds = rounded(i.DurationSeconds / float64(max(e.Events, 1)))
		s.TotalBatches += e.Events
		s.TotalDurationSeconds += i.DurationSeconds
	}
	s.AvgDurationSeconds = rounded(s.TotalDurationSeconds / float64(max(s.TotalBatches, 1)))
	s.AvgTokensPerInterval = rounded(float64(s.TotalTokens) / reportSteps)
	return answer(w, o)
}
