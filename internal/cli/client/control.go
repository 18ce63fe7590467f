package client

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"

	"github.com/tidegate/tidegate/internal/openai"
)

// Estimate predicts the end of a batch. Unknown values are nil.
type Estimate struct {
	LinesPerMinute   *float64 `json:"lines_per_minute"`
	RemainingSeconds *int64   `json:"remaining_seconds"`
	FinishesAt       *int64   `json:"finishes_at"` // unix seconds
	MissesDeadline   *bool    `json:"misses_deadline"`
}

// EstimatedBatch is a batch with the prediction of its end.
type EstimatedBatch struct {
	openai.Batch
	Estimate Estimate `json:"estimate"`
}

// Estimate returns a batch with the prediction of its end.
func (c *Client) Estimate(ctx context.Context, id string) (EstimatedBatch, error) {
	return do[EstimatedBatch](ctx, c, call{method: http.MethodGet, path: batchPath(id) + "?estimate=1", object: "batch"})
}

// PauseBatch stops new lines of a batch from starting; lines that run finish.
func (c *Client) PauseBatch(ctx context.Context, id string) (openai.Batch, error) {
	return do[openai.Batch](ctx, c, call{method: http.MethodPost, path: batchPath(id) + "/pause", object: "batch"})
}

// ResumeBatch resumes a paused batch.
func (c *Client) ResumeBatch(ctx context.Context, id string) (openai.Batch, error) {
	return do[openai.Batch](ctx, c, call{method: http.MethodPost, path: batchPath(id) + "/resume", object: "batch"})
}

// SetPriority sets the priority of a batch, -100 to 100.
func (c *Client) SetPriority(ctx context.Context, id string, priority int) (openai.Batch, error) {
	body, err := json.Marshal(map[string]int{"priority": priority})
	if err != nil {
		return openai.Batch{}, fmt.Errorf("encoding request: %w", err)
	}
	return do[openai.Batch](ctx, c, call{method: http.MethodPost, path: batchPath(id) + "/priority", object: "batch", body: body})
}

// RetryFailed makes a batch of the lines in the error file of another. A repeated
// request cannot make two.
func (c *Client) RetryFailed(ctx context.Context, id string) (openai.Batch, error) {
	return do[openai.Batch](ctx, c, call{
		method: http.MethodPost, path: batchPath(id) + "/retry_failed", object: "batch",
		header: http.Header{"Idempotency-Key": {rand.Text()}},
	})
}

func batchPath(id string) string { return "/v1/batches/" + url.PathEscape(id) }
