package client

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"

	"github.com/tidegate/tidegate/internal/openai"
)

// Line is one request of a batch and its outcome. Unknown values are nil.
type Line struct {
	Object     string        `json:"object"` // "batch.line"
	Line       int           `json:"line"`   // from 1, without blank lines
	CustomID   string        `json:"custom_id"`
	Status     string        `json:"status"` // pending, completed, failed
	StatusCode *int          `json:"status_code"`
	Error      *string       `json:"error"`
	Attempts   *int          `json:"attempts"`
	DurationMS *int64        `json:"duration_ms"` // of the last attempt
	Upstream   *string       `json:"upstream"`    // of the last attempt
	Usage      *openai.Usage `json:"usage"`
}

// LineDetail is a line with its request and its result, as in the input and the output
// file.
type LineDetail struct {
	Line
	Input  json.RawMessage `json:"input"`
	Result json.RawMessage `json:"result"`
}

// linePage is the number of lines in one request.
const linePage = 1000

// Lines calls visit with the lines of a batch in input order, those of one status
// unless that is "", until visit returns false.
func (c *Client) Lines(ctx context.Context, id, status string, visit func(Line) bool) error {
	type page struct {
		Data    []Line `json:"data"`
		HasMore bool   `json:"has_more"`
		After   int    `json:"after"`
	}
	query := url.Values{"limit": {strconv.Itoa(linePage)}}
	if status != "" {
		query.Set("status", status)
	}
	for after := 0; ; {
		query.Set("after", strconv.Itoa(after))
		p, err := do[page](ctx, c, call{method: http.MethodGet, path: batchPath(id) + "/results?" + query.Encode(), object: "list"})
		if err != nil {
			return err
		}
		for _, l := range p.Data {
			if !visit(l) {
				return nil
			}
		}
		if !p.HasMore {
			return nil
		}
		if p.After <= after {
			return fmt.Errorf("listing lines of %s: the page after line %d does not advance", id, after)
		}
		after = p.After
	}
}

// Line returns one line of a batch, numbered from 1.
func (c *Client) Line(ctx context.Context, id string, number int) (LineDetail, error) {
	return do[LineDetail](ctx, c, call{method: http.MethodGet, path: batchPath(id) + "/lines/" + strconv.Itoa(number), object: "batch.line"})
}

// Part names one of the two files that a batch writes.
type Part string

// The files that a batch writes.
const (
	PartOutput Part = "output"
	PartErrors Part = "errors"
)

// SoFar writes the durable lines of the output or the error file of a batch, and returns
// the number of bytes. An interrupted response is an error: the lines may have changed, so
// it cannot be resumed.
func (c *Client) SoFar(ctx context.Context, id string, part Part, w io.Writer) (int64, error) {
	var written int64
	err := c.retry(ctx, func() error {
		request, err := http.NewRequestWithContext(ctx, http.MethodGet, c.Server+batchPath(id)+"/"+string(part), nil)
		if err != nil {
			return &finalError{fmt.Errorf("making request: %w", err)}
		}
		answer, err := c.send(request)
		if err != nil {
			return err
		}
		defer answer.Body.Close()
		n, err := io.Copy(finalWriter{w}, answer.Body)
		written = n
		if err != nil && n > 0 {
			return &finalError{fmt.Errorf("the answer broke off after %d bytes: %w; ask again", n, noEOF(err))}
		}
		return err
	})
	if err != nil {
		return written, fmt.Errorf("reading results of %s: %w", id, err)
	}
	return written, nil
}
