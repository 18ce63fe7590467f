package client

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"

	"github.com/tidegate/tidegate/internal/openai"
)

// CreateBatch has the parameters of a new batch.
type CreateBatch struct {
	InputFileID      string            `json:"input_file_id"`
	Endpoint         string            `json:"endpoint"`
	CompletionWindow string            `json:"completion_window"`
	Metadata         map[string]string `json:"metadata,omitempty"`
	Priority         int               `json:"priority,omitempty"`
}

// Create makes a batch. A retry cannot make two.
func (c *Client) Create(ctx context.Context, b CreateBatch) (openai.Batch, error) {
	body, err := json.Marshal(b)
	if err != nil {
		return openai.Batch{}, fmt.Errorf("encoding request: %w", err)
	}
	return do[openai.Batch](ctx, c, call{
		method: http.MethodPost, path: "/v1/batches", object: "batch", body: body,
		header: http.Header{"Idempotency-Key": {rand.Text()}},
	})
}

// Batch returns a batch.
func (c *Client) Batch(ctx context.Context, id string) (openai.Batch, error) {
	return do[openai.Batch](ctx, c, call{method: http.MethodGet, path: batchPath(id), object: "batch"})
}

// Cancel cancels a batch.
func (c *Client) Cancel(ctx context.Context, id string) (openai.Batch, error) {
	return do[openai.Batch](ctx, c, call{method: http.MethodPost, path: batchPath(id) + "/cancel", object: "batch"})
}

// DeleteBatch deletes a batch that has ended, and on request its input file. The gateway
// refuses to delete a running batch.
func (c *Client) DeleteBatch(ctx context.Context, id string, input bool) (openai.Deleted, error) {
	return c.remove(ctx, id, call{path: batchPath(id) + "?cancel=false&input=" + strconv.FormatBool(input), object: "batch"})
}

// DeleteFile deletes a file.
func (c *Client) DeleteFile(ctx context.Context, id string) (openai.Deleted, error) {
	return c.remove(ctx, id, call{path: "/v1/files/" + url.PathEscape(id), object: "file"})
}

// remove deletes an object. If it does not exist after an attempt whose response was lost,
// that attempt deleted it.
func (c *Client) remove(ctx context.Context, id string, r call) (openai.Deleted, error) {
	r.method = http.MethodDelete
	var out openai.Deleted
	lost := false
	err := c.retry(ctx, func() error {
		err := c.once(ctx, r, &out)
		if err == nil {
			return nil
		}
		e, answered := errors.AsType[*Error](err)
		switch {
		case !answered, e.Status == http.StatusInternalServerError, e.Status == http.StatusBadGateway, e.Status == http.StatusGatewayTimeout:
			lost = true
		case e.Status == http.StatusNotFound && lost:
			out = openai.Deleted{ID: id, Object: r.object, Deleted: true}
			return nil
		}
		return err
	})
	return out, err
}

// Batches calls visit with every batch, newest first, until it returns false.
func (c *Client) Batches(ctx context.Context, visit func(openai.Batch) bool) error {
	return pages(ctx, c, "/v1/batches?limit=100", func(b openai.Batch) string { return b.ID }, visit)
}

// Files calls visit with every file of a purpose, "" for any, newest first,
// until it returns false.
func (c *Client) Files(ctx context.Context, purpose string, visit func(openai.File) bool) error {
	path := "/v1/files?limit=1000"
	if purpose != "" {
		path += "&purpose=" + url.QueryEscape(purpose)
	}
	return pages(ctx, c, path, func(f openai.File) string { return f.ID }, visit)
}

func pages[T any](ctx context.Context, c *Client, path string, id func(T) string, visit func(T) bool) error {
	after, last := "", ""
	for {
		page, err := do[openai.List[T]](ctx, c, call{method: http.MethodGet, path: path + after, object: "list"})
		if err != nil {
			return err
		}
		for _, item := range page.Data {
			if !visit(item) {
				return nil
			}
		}
		if !page.HasMore || len(page.Data) == 0 {
			return nil
		}
		next := id(page.Data[len(page.Data)-1])
		if next == last {
			return errors.New("the listing does not end: the gateway returned the same page again")
		}
		last, after = next, "&after="+url.QueryEscape(next)
	}
}

// Ready waits until the gateway could serve a request.
func (c *Client) Ready(ctx context.Context) error {
	for {
		request, err := http.NewRequestWithContext(ctx, http.MethodGet, c.Server+"/ready", nil)
		if err != nil {
			return fmt.Errorf("making request: %w", err)
		}
		answer, err := c.send(request)
		if err == nil {
			return answer.Body.Close()
		}
		if e, ok := errors.AsType[*Error](err); ok && e.Status < 500 {
			return fmt.Errorf("waiting for the gateway: %w", err)
		}
		if err := sleep(ctx, c.pause()/10); err != nil {
			return fmt.Errorf("waiting for the gateway: %w", err)
		}
	}
}
