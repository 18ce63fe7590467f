package httpapi

import (
	"context"
	"math"
	"net/http"
	"time"

	"github.com/tidegate/tidegate/batch"
	"github.com/tidegate/tidegate/internal/openai"
)

// The sizes of a page of the dashboard report.
const (
	reportPage    = 20
	maxReportPage = 100
	// reportSpan is how many batches of the last day the report counts and
	// pages through, the newest.
	reportSpan = 10_000
)

type tokenUsage struct {
	TotalTokens      int64   `json:"total_tokens"`
	PromptTokens     int64   `json:"prompt_tokens"`
	CompletionTokens int64   `json:"completion_tokens"`
	TotalCost        float64 `json:"total_cost"`
	RequestCount     int64   `json:"request_count"`
}

func (u *tokenUsage) add(v tokenUsage) {
	u.TotalTokens += v.TotalTokens
	u.PromptTokens += v.PromptTokens
	u.CompletionTokens += v.CompletionTokens
	u.RequestCount += v.RequestCount
}

func tokensOf(b batch.Batch) tokenUsage {
	return tokenUsage{
		TotalTokens: b.Usage.TotalTokens, PromptTokens: b.Usage.InputTokens, CompletionTokens: b.Usage.OutputTokens,
		RequestCount: b.Counts.Completed + b.Counts.Failed,
	}
}

type batchTokens struct {
	BatchID string `json:"batch_id"`
	tokenUsage
}

func (h *handler) reportBatchTokens(w http.ResponseWriter, r *http.Request, id string) error {
	b, err := h.batches.Batch(r.Context(), h.tenant(r), id)
	if err != nil {
		return err
	}
	return answer(w, batchTokens{b.ID, tokensOf(b)})
}

type batchReport struct {
	ID                  string               `json:"id"`
	Status              string               `json:"status"`
	Endpoint            string               `json:"endpoint"`
	CreatedAt           int64                `json:"created_at"`
	CompletedAt         *int64               `json:"completed_at"`
	DurationSeconds     *float64             `json:"duration_seconds"` // null until it has ended
	RequestCounts       openai.RequestCounts `json:"request_counts"`
	ErrorRatePercentage float64              `json:"error_rate_percentage"`
	TokenUsage          tokenUsage           `json:"token_usage"`
}

type dashboardSummary struct {
	TotalBatches               int                  `json:"total_batches"`
	BatchesByStatus            map[batch.Status]int `json:"batches_by_status"`
	OverallErrorRatePercentage float64              `json:"overall_error_rate_percentage"`
	OverallTokenUsage          tokenUsage           `json:"overall_token_usage"`
}

type pagination struct {
	Page         int  `json:"page"`
	Limit        int  `json:"limit"`
	TotalBatches int  `json:"total_batches"`
	HasMore      bool `json:"has_more"`
	NextPage     *int `json:"next_page"`
	PrevPage     *int `json:"prev_page"`
}

type dashboardReport struct {
	Object     string           `json:"object"` // "dashboard"
	Batches    []batchReport    `json:"batches"`
	Summary    dashboardSummary `json:"summary"`
	Pagination pagination       `json:"pagination"`
}

// errorRate is in percent of the requests that have a result.
func errorRate(c openai.RequestCounts) float64 {
	return rounded(100 * float64(c.Failed) / float64(max(c.Completed+c.Failed, 1)))
}

// ended is when a batch ended, zero before.
func ended(b batch.Batch) time.Time {
	for _, at := range []time.Time{b.CompletedAt, b.FailedAt, b.ExpiredAt, b.CancelledAt} {
		if !at.IsZero() {
			return at
		}
	}
	return time.Time{}
}

func reportOf(b batch.Batch) batchReport {
	o := batchReport{
		ID: b.ID, Status: string(b.Status), Endpoint: b.Endpoint, CreatedAt: b.CreatedAt.Unix(), CompletedAt: unix(b.CompletedAt),
		RequestCounts: b.Counts, ErrorRatePercentage: errorRate(b.Counts), TokenUsage: tokensOf(b),
	}
	if at := ended(b); !at.IsZero() {
		o.DurationSeconds = new(rounded(at.Sub(b.CreatedAt).Seconds()))
	}
	return o
}

// reportDashboard shows the batches of the last day.
func (h *handler) reportDashboard(w http.ResponseWriter, r *http.Request, _ string) error {
	query, err := parseQuery(r)
	if err != nil {
		return err
	}
	limit, err := query.limit(reportPage, maxReportPage)
	if err != nil {
		return err
	}
	page := int64(1)
	if s, ok, err := query.get("page"); err != nil {
		return err
	} else if ok {
		if page, err = batch.ParseInteger("page", s, 1, math.MaxInt32); err != nil {
			return err
		}
	}
	day, err := h.lastDay(r.Context(), h.tenant(r))
	if err != nil {
		return err
	}
	o := dashboardReport{
		Object: "dashboard", Batches: []batchReport{},
		Summary:    dashboardSummary{TotalBatches: len(day), BatchesByStatus: make(map[batch.Status]int)},
		Pagination: pagination{Page: int(page), Limit: limit, TotalBatches: len(day)},
	}
	var counts openai.RequestCounts
	for _, b := range day {
		o.Summary.BatchesByStatus[b.Status]++
		o.Summary.OverallTokenUsage.add(tokensOf(b))
		counts.Completed += b.Counts.Completed
		counts.Failed += b.Counts.Failed
	}
	o.Summary.OverallErrorRatePercentage = errorRate(counts)
	first := min((page-1)*int64(limit), int64(len(day)))
	last := min(first+int64(limit), int64(len(day)))
	for _, b := range day[first:last] {
		o.Batches = append(o.Batches, reportOf(b))
	}
	if o.Pagination.HasMore = last < int64(len(day)); o.Pagination.HasMore {
		o.Pagination.NextPage = new(int(page) + 1)
	}
	if page > 1 {
		o.Pagination.PrevPage = new(int(page) - 1)
	}
	return answer(w, o)
}

// lastDay lists the batches of the last 24 hours, the newest first.
func (h *handler) lastDay(ctx context.Context, tenant string) ([]batch.Batch, error) {
	page, err := h.batches.Analytics().FindBatches(ctx, tenant, batch.BatchFilter{From: h.now().Add(-reportTime), Limit: reportSpan})
	return page.Batches, err
}
