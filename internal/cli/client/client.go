// Package client is a small client of the gateway's Files and Batches API, for
// the commands of the command line.
package client

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"time"
)

// Client talks to one gateway.
type Client struct {
	// Server is the gateway's URL, without /v1.
	Server string
	// APIKey is sent as bearer token unless it is empty.
	APIKey string
	// HTTP sends the requests. It should not follow redirects, which change POST
	// to GET. Default: a client with http.DefaultTransport.
	HTTP *http.Client
	// Pause is the pause before the first retry; it doubles. Default: 500 ms.
	Pause time.Duration
	// Timeout limits one attempt of a request. Uploads and downloads have no
	// limit. Default: 1 min.
	Timeout time.Duration
}

var direct = &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}

// maxAnswer bounds an answer that is read whole, in bytes.
const maxAnswer = 64 << 20

// send sends one request once; an answer that is no success is an *Error.
func (c *Client) send(request *http.Request) (*http.Response, error) {
	if c.APIKey != "" {
		request.Header.Set("Authorization", "Bearer "+c.APIKey)
	}
	request.Header.Set("User-Agent", "tidegate")
	client := c.HTTP
	if client == nil {
		client = direct
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

// call is a request that is answered with one object.
type call struct {
	method, path string
	header       http.Header
	body         []byte // JSON; nil for none
	object       string // object type of the response
}

// do makes a call, again if need be, and decodes the answer.
func do[T any](ctx context.Context, c *Client, r call) (out T, err error) {
	err = c.retry(ctx, func() error { return c.once(ctx, r, &out) })
	return out, err
}

// once makes a call once.
func (c *Client) once(ctx context.Context, r call, out any) error {
	timeout := c.Timeout
	if timeout == 0 {
		timeout = time.Minute
	}
	limited, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	request, err := http.NewRequestWithContext(limited, r.method, c.Server+r.path, bytes.NewReader(r.body))
	if err != nil {
		return &finalError{fmt.Errorf("making request: %w", err)}
	}
	maps.Copy(request.Header, r.header)
	if r.body != nil {
		request.Header.Set("Content-Type", "application/json")
	}
	answer, err := c.send(request)
	if err == nil {
		err = decode(answer, r.object, out)
	}
	if err != nil && limited.Err() != nil && ctx.Err() == nil {
		return fmt.Errorf("%s does not answer within %s", c.Server, timeout)
	}
	return err
}

// decode reads an answer that is an object of the API.
func decode(answer *http.Response, object string, out any) error {
	defer answer.Body.Close()
	text, err := io.ReadAll(io.LimitReader(answer.Body, maxAnswer))
	if err != nil {
		return fmt.Errorf("reading answer: %w", err)
	}
	var head struct {
		Object string `json:"object"`
	}
	err = json.Unmarshal(text, &head)
	if err == nil && head.Object != object {
		err = fmt.Errorf("it is no %s", object)
	}
	if err == nil {
		err = json.Unmarshal(text, out)
	}
	if err != nil {
		request := answer.Request
		return &finalError{fmt.Errorf("what answered %s %s is no gateway (%w): is --server right?", request.Method, request.URL.Path, err)}
	}
	return nil
}
