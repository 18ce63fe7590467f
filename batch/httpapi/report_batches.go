package httpapi

import (
	"math"
	"net/http"

	"github.com/tidegate/tidegate/batch"
	"github.com/tidegate/tidegate/internal/openai"
)

// pageSize is the number of batches on a page of the dashboard report: the default preset
// and the maximum most.
type pageSize struct{ preset, most int }

// The page sizes of the two generations.
var (
	newPage = pageSize{10, 50}
	oldPage = pageSize{20, 100}
)

type tokenUsage struct {
	TotalTokens      int64       `json:"total_tokens"`
	PromptTokens     int64       `json:"prompt_tokens"`
	CompletionTokens int64       `json:"completion_tokens"`
	TotalCost        batch.Money `json:"total_cost"`
}

func (u *tokenUsage) add(v tokenUsage) {
	u.TotalTokens += v.TotalTokens
	u.PromptTokens += v.PromptTokens
	u.CompletionTokens += v.CompletionTokens
	u.TotalCost = u.TotalCost.Plus(v.TotalCost)
}

func tokensOf(b batch.Batch) tokenUsage {
	return tokenUsage{TotalTokens: b.Usage.TotalTokens, PromptTokens: b.Usage.InputTokens, CompletionTokens: b.Usage.OutputTokens, TotalCost: b.Cost}
}

// batchUsage is the usage of one batch.
type batchUsage struct {
	tokenUsage
	RequestCount int64 `json:"request_count"` // requests with a result so far, failed ones included
}

// usageOf is the same in all reports.
func usageOf(b batch.Batch) batchUsage {
	return batchUsage{tokensOf(b), b.Counts.Completed + b.Counts.Failed}
}

// overallUsage is the usage of many batches.
type overallUsage struct {
	tokenUsage
	TotalRequests int64 `json:"total_requests"`
}

type batchTokens struct {
	BatchID string `json:"batch_id"`
	batchUsage
}

func (h *handler) reportBatchTokens(w http.ResponseWriter, r *http.Request, id string) error {
	b, err := h.batches.Batch(r.Context(), h.tenant(r), id)
	if err != nil {
		return err
	}
	return answer(w, batchTokens{b.ID, usageOf(b)})
}

type batchReport struct {
	ID                  string               `json:"id"`
	Status              string               `json:"status"`
	Endpoint            string               `json:"endpoint"`
	CreatedAt           isoTime              `json:"created_at"`
	CompletedAt         *isoTime             `json:"completed_at"`
	DurationSeconds     *float64             `json:"duration_seconds"` // null unless it is completed
	RequestCounts       openai.RequestCounts `json:"request_counts"`
	ErrorRatePercentage float64              `json:"error_rate_percentage"`
	TokenUsage          batchUsage           `json:"token_usage"`
}

type dashboardSummary struct {
	TotalBatches               int                  `json:"total_batches"`
	BatchesByStatus            map[batch.Status]int `json:"batches_by_status"`
	OverallErrorRatePercentage float64              `json:"overall_error_rate_percentage"`
	tokenUsage                                      // as the second generation has it
	TotalRequests              int64                `json:"total_requests"`
	TotalRequestCompleted      int64                `json:"total_request_completed"`
	OverallTokenUsage          overallUsage         `json:"overall_token_usage"` // as the first has it
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

// errorRate is the share of the requests that failed, in percent.
func errorRate(c openai.RequestCounts) float64 {
	return rounded(100 * float64(c.Failed) / float64(max(c.Total, 1)))
}

func reportOf(b batch.Batch) batchReport {
	o := batchReport{
		ID: b.ID, Status: string(b.Status), Endpoint: b.Endpoint, CreatedAt: isoTime(b.CreatedAt), CompletedAt: iso(b.CompletedAt),
		RequestCounts: b.Counts, ErrorRatePercentage: errorRate(b.Counts), TokenUsage: usageOf(b),
	}
	if !b.CompletedAt.IsZero() {
		o.DurationSeconds = new(reportSeconds(ran(b)))
	}
	return o
}

func (h *handler) reportDashboard(w http.ResponseWriter, r *http.Request, _ string) error {
	return h.sendDashboard(w, r, newPage)
}

func (h *handler) reportOldDashboard(w http.ResponseWriter, r *http.Request, _ string) error {
	return h.sendDashboard(w, r, oldPage)
}

// sendDashboard returns the batches of the last day. A limit above the maximum is reduced
// to it, as in BESH.
func (h *handler) sendDashboard(w http.ResponseWriter, r *http.Request, size pageSize) error {
	query, err := parseQuery(r)
	if err != nil {
		return err
	}
	limit, err := query.limit(size.preset, math.MaxInt32)
	if err != nil {
		return err
	}
	limit = min(limit, size.most)
	page := int64(1)
	if s, ok, err := query.get("page"); err != nil {
		return err
	} else if ok {
		if page, err = parseInteger("page", s, 1, math.MaxInt32); err != nil {
			return err
		}
	}
	now, err := h.batches.StoreTime(r.Context())
	if err != nil {
		return err
	}
	day, err := h.reported(r.Context(), h.tenant(r), now.Add(-reportTime))
	if err != nil {
		return err
	}
	first := min((page-1)*int64(limit), int64(len(day)))
	last := min(first+int64(limit), int64(len(day)))
	o := dashboardReport{
		Object: "dashboard", Batches: []batchReport{}, Summary: summaryOf(day),
		Pagination: pagination{Page: int(page), Limit: limit, TotalBatches: len(day), HasMore: last < int64(len(day))},
	}
	for _, b := range day[first:last] {
		o.Batches = append(o.Batches, reportOf(b))
	}
	if o.Pagination.HasMore {
		o.Pagination.NextPage = new(int(page) + 1)
	}
	if page > 1 {
		o.Pagination.PrevPage = new(int(page) - 1)
	}
	return answer(w, o)
}

func summaryOf(day []batch.Batch) dashboardSummary {
	o := dashboardSummary{TotalBatches: len(day), BatchesByStatus: make(map[batch.Status]int)}
	var counts openai.RequestCounts
	for _, b := range day {
		o.BatchesByStatus[b.Status]++
		o.add(tokensOf(b))
		counts.Total += b.Counts.Total
		counts.Completed += b.Counts.Completed
		counts.Failed += b.Counts.Failed
	}
	o.TotalRequests, o.TotalRequestCompleted = counts.Total, counts.Completed
	o.OverallTokenUsage = overallUsage{o.tokenUsage, counts.Total}
	o.OverallErrorRatePercentage = errorRate(counts)
	return o
}
