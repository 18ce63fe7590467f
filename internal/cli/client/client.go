// Package client is a small client of the gateway's Files and Batches API, for
// the commands of the command line.
package client

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"mime/multipart"
	"net"
	"net/http"
	"net/textproto"
	"net/url"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/tidegate/tidegate/internal/openai"
)

// Client talks to one gateway.
type Client struct {
	// Server is the gateway's URL, without /v1.
	Server string
	// APIKey is sent as bearer token unless it is empty.
	APIKey string
	// HTTP sends the requests; http.DefaultClient when nil.
	HTTP *http.Client
	// Pause is what a retry waits for at first; it doubles. Default 500 ms.
	Pause time.Duration
}

// Error is an answer that is no success.
type Error struct {
	Status  int
	Message string
	Param   string
	Code    string

	retryAfter time.Duration
}

func (e *Error) Error() string {
	if e.Param != "" {
		return fmt.Sprintf("%s (%d, %s)", e.Message, e.Status, e.Param)
	}
	return fmt.Sprintf("%s (%d)", e.Message, e.Status)
}

// retries is how often a request is sent again.
const retries = 4

// try sends what make makes until it is answered with 2xx, a mistake of ours,
// or retries are used up. The caller closes the answer's body.
func (c *Client) try(ctx context.Context, make func() (*http.Request, error)) (*http.Response, error) {
	pause := c.Pause
	if pause == 0 {
		pause = 500 * time.Millisecond
	}
	for attempt := 0; ; attempt++ {
		request, err := make()
		if err != nil {
			return nil, err
		}
		answer, err := c.send(request)
		if err == nil {
			return answer, nil
		}
		wait := pause << attempt
		failure, answered := errors.AsType[*Error](err)
		switch {
		case ctx.Err() != nil:
			return nil, ctx.Err()
		case attempt == retries, answered && failure.Status != http.StatusTooManyRequests && failure.Status < 500, answered && failure.Status == http.StatusInsufficientStorage:
			return nil, c.explain(err)
		case errors.Is(err, syscall.ECONNREFUSED):
			return nil, c.explain(err)
		case answered:
			wait = max(wait, failure.retryAfter)
		}
		timer := time.NewTimer(wait)
		select {
		case <-ctx.Done():
			timer.Stop()
			return nil, ctx.Err()
		case <-timer.C:
		}
	}
}

// explain says what to do about a gateway that is not there.
func (c *Client) explain(err error) error {
	if _, ok := errors.AsType[*net.OpError](err); ok && errors.Is(err, syscall.ECONNREFUSED) {
		return fmt.Errorf("nobody listens at %s: is the gateway running (tidegate serve --upstream URL), and is --server right?", c.Server)
	}
	return err
}

// send sends one request; an answer that is no success is an *Error.
func (c *Client) send(request *http.Request) (*http.Response, error) {
	if c.APIKey != "" {
		request.Header.Set("Authorization", "Bearer "+c.APIKey)
	}
	client := c.HTTP
	if client == nil {
		client = http.DefaultClient
	}
	answer, err := client.Do(request)
	if err != nil {
		return nil, err
	}
	if answer.StatusCode < 300 {
		return answer, nil
	}
	defer answer.Body.Close()
	return nil, readError(answer)
}

func readError(answer *http.Response) error {
	text, err := io.ReadAll(io.LimitReader(answer.Body, 1<<20))
	if err != nil {
		return fmt.Errorf("reading answer: %w", err)
	}
	e := &Error{Status: answer.StatusCode}
	var envelope struct {
		Error struct{ Message, Param, Code string }
	}
	if json.Unmarshal(text, &envelope) == nil && envelope.Error.Message != "" {
		e.Message, e.Param, e.Code = envelope.Error.Message, envelope.Error.Param, envelope.Error.Code
	} else {
		e.Message = fmt.Sprintf("%s: %.200s", answer.Status, bytes.TrimSpace(text))
	}
	if seconds, err := strconv.Atoi(answer.Header.Get("Retry-After")); err == nil {
		e.retryAfter = time.Duration(seconds) * time.Second
	}
	return e
}

// call sends a request without a body, or with a JSON one, and decodes the
// answer.
func call[T any](ctx context.Context, c *Client, method, path string, body any, header http.Header) (out T, err error) {
	var text []byte
	if body != nil {
		if text, err = json.Marshal(body); err != nil {
			return out, fmt.Errorf("encoding request: %w", err)
		}
	}
	answer, err := c.try(ctx, func() (*http.Request, error) {
		request, err := http.NewRequestWithContext(ctx, method, c.Server+path, bytes.NewReader(text))
		if err != nil {
			return nil, fmt.Errorf("making request: %w", err)
		}
		maps.Copy(request.Header, header)
		if body != nil {
			request.Header.Set("Content-Type", "application/json")
		}
		return request, nil
	})
	if err != nil {
		return out, err
	}
	defer answer.Body.Close()
	if err := json.NewDecoder(answer.Body).Decode(&out); err != nil {
		return out, fmt.Errorf("%s %s did not answer as a gateway does: %w", method, path, err)
	}
	return out, nil
}

// CreateBatch is what a batch is made of.
type CreateBatch struct {
	InputFileID      string            `json:"input_file_id"`
	Endpoint         string            `json:"endpoint"`
	CompletionWindow string            `json:"completion_window"`
	Metadata         map[string]string `json:"metadata,omitempty"`
}

// Create makes a batch. A retry cannot make two.
func (c *Client) Create(ctx context.Context, b CreateBatch) (openai.Batch, error) {
	return call[openai.Batch](ctx, c, http.MethodPost, "/v1/batches", b, http.Header{"Idempotency-Key": {rand.Text()}})
}

// Batch gives a batch.
func (c *Client) Batch(ctx context.Context, id string) (openai.Batch, error) {
	return call[openai.Batch](ctx, c, http.MethodGet, "/v1/batches/"+url.PathEscape(id), nil, nil)
}

// Cancel cancels a batch.
func (c *Client) Cancel(ctx context.Context, id string) (openai.Batch, error) {
	return call[openai.Batch](ctx, c, http.MethodPost, "/v1/batches/"+url.PathEscape(id)+"/cancel", nil, nil)
}

// DeleteBatch deletes a batch that has ended, and its input file if asked.
func (c *Client) DeleteBatch(ctx context.Context, id string, input bool) (openai.Deleted, error) {
	return call[openai.Deleted](ctx, c, http.MethodDelete, "/v1/batches/"+url.PathEscape(id)+"?input="+strconv.FormatBool(input), nil, nil)
}

// DeleteFile deletes a file.
func (c *Client) DeleteFile(ctx context.Context, id string) (openai.Deleted, error) {
	return call[openai.Deleted](ctx, c, http.MethodDelete, "/v1/files/"+url.PathEscape(id), nil, nil)
}

// Batches calls visit with every batch, newest first, until it returns false.
func (c *Client) Batches(ctx context.Context, visit func(openai.Batch) bool) error {
	return pages(ctx, c, "/v1/batches?limit=100", func(b openai.Batch) string { return b.ID }, visit)
}

// Files calls visit with every file, newest first, until it returns false.
func (c *Client) Files(ctx context.Context, visit func(openai.File) bool) error {
	return pages(ctx, c, "/v1/files?limit=1000", func(f openai.File) string { return f.ID }, visit)
}

func pages[T any](ctx context.Context, c *Client, path string, id func(T) string, visit func(T) bool) error {
	after := ""
	for {
		page, err := call[openai.List[T]](ctx, c, http.MethodGet, path+after, nil, nil)
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
		after = "&after=" + url.QueryEscape(id(page.Data[len(page.Data)-1]))
	}
}

// Upload uploads size bytes of content; sent is called with how many have gone
// out. It is not retried: the content may be a stream.
func (c *Client) Upload(ctx context.Context, name, purpose string, content io.Reader, size int64, sent func(int64)) (openai.File, error) {
	var head, tail bytes.Buffer
	form := multipart.NewWriter(&head)
	if err := form.WriteField("purpose", purpose); err != nil {
		return openai.File{}, err
	}
	quoted := strings.NewReplacer("\\", "\\\\", `"`, `\"`, "\r", "", "\n", "").Replace(name)
	if _, err := form.CreatePart(textproto.MIMEHeader{
		"Content-Disposition": {`form-data; name="file"; filename="` + quoted + `"`},
		"Content-Type":        {"application/octet-stream"},
	}); err != nil {
		return openai.File{}, err
	}
	before := head.Len()
	if err := form.Close(); err != nil {
		return openai.File{}, err
	}
	tail.Write(head.Bytes()[before:])
	head.Truncate(before)
	total := int64(head.Len()) + size + int64(tail.Len())
	if size < 0 {
		total = -1
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, c.Server+"/v1/files", io.NopCloser(io.MultiReader(&head, &counter{content, 0, sent}, &tail)))
	if err != nil {
		return openai.File{}, fmt.Errorf("making request: %w", err)
	}
	request.ContentLength = total
	request.Header.Set("Content-Type", form.FormDataContentType())
	answer, err := c.send(request)
	if err != nil {
		return openai.File{}, c.explain(err)
	}
	defer answer.Body.Close()
	var f openai.File
	if err := json.NewDecoder(answer.Body).Decode(&f); err != nil {
		return openai.File{}, fmt.Errorf("the upload was not answered as by a gateway: %w", err)
	}
	return f, nil
}

// counter tells how much was read.
type counter struct {
	r    io.Reader
	n    int64
	tell func(int64)
}

func (c *counter) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.n += int64(n)
	if c.tell != nil {
		c.tell(c.n)
	}
	return n, err
}

// Download writes the content of a file to w. A broken connection is taken up
// where it broke.
func (c *Client) Download(ctx context.Context, id string, w io.Writer) (int64, error) {
	var written int64
	for broken := 0; ; broken++ {
		answer, err := c.try(ctx, func() (*http.Request, error) {
			request, err := http.NewRequestWithContext(ctx, http.MethodGet, c.Server+"/v1/files/"+url.PathEscape(id)+"/content", nil)
			if err == nil && written > 0 {
				request.Header.Set("Range", fmt.Sprintf("bytes=%d-", written))
			}
			return request, err
		})
		if err != nil {
			return written, err
		}
		if written > 0 && answer.StatusCode != http.StatusPartialContent {
			return written, errors.Join(errors.New("the download broke off and the gateway does not take it up"), answer.Body.Close())
		}
		n, err := io.Copy(w, answer.Body)
		written += n
		closing := answer.Body.Close()
		if err == nil {
			return written, closing
		}
		if ctx.Err() != nil || broken == retries {
			return written, fmt.Errorf("downloading %s: %w", id, err)
		}
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
		timer := time.NewTimer(50 * time.Millisecond)
		select {
		case <-ctx.Done():
			timer.Stop()
			return fmt.Errorf("waiting for the gateway: %w", err)
		case <-timer.C:
		}
	}
}
