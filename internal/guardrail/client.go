package guardrail

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"time"
)

// Action is the result of a decision.
type Action uint8

// The actions.
const (
	Pass    Action = iota // it is sent unchanged
	Reject                // it is refused
	Replace               // another body is sent
)

// Decision is a decision about one request.
type Decision struct {
	Action  Action
	Body    []byte // to send, for Pass and Replace
	Message string // why it is rejected, for the client
	Code    string // the same for programs
}

// Client asks the service. Methods are safe for concurrent use.
type Client struct {
	cfg       Config
	transport *http.Transport
	client    http.Client
}

const (
	// responseRoom limits a response, in bytes: twice the request's body, and this in
	// addition. So replaced bodies take a bounded amount of memory.
	responseRoom = 1 << 20
	// idleConns is the number of idle connections that are kept.
	idleConns = 64
	// idleTimeout is the time after which one is closed.
	idleTimeout = 30 * time.Second
)

// New returns a client for a valid configuration with a timeout.
func New(cfg Config) *Client {
	transport := &http.Transport{MaxIdleConnsPerHost: idleConns, IdleConnTimeout: idleTimeout, DisableCompression: true}
	return &Client{cfg: cfg, transport: transport, client: http.Client{
		Transport: transport,
		// A redirect would send prompts to an address that is not configured.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
}

// Close closes the idle connections.
func (c *Client) Close() { c.transport.CloseIdleConnections() }

// Config returns the configuration.
func (c *Client) Config() Config { return c.cfg }

// Check returns the decision of the service. An error is that of the context, or says
// why there is no decision; it does not contain any part of the request.
func (c *Client) Check(ctx context.Context, r Request) (Decision, error) {
	timed, cancel := context.WithTimeout(ctx, c.cfg.Timeout)
	defer cancel()
	d, err := c.ask(timed, &r)
	switch {
	case ctx.Err() != nil:
		return Decision{}, ctx.Err()
	case timed.Err() != nil:
		return Decision{}, fmt.Errorf("no decision within %s", c.cfg.Timeout)
	}
	return d, err
}

func (c *Client) ask(ctx context.Context, r *Request) (Decision, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, c.cfg.URL, bytes.NewReader(r.encode()))
	if err != nil {
		return Decision{}, fmt.Errorf("asking the guardrail: %w", err)
	}
	request.Header.Set("Content-Type", "application/json")
	request.Header.Set("Accept", "application/json")
	request.Header.Set("User-Agent", "tidegate")
	if c.cfg.Key != "" {
		request.Header.Set("Authorization", "Bearer "+c.cfg.Key)
	}
	answer, err := c.client.Do(request)
	if e, ok := errors.AsType[*url.Error](err); ok {
		err = e.Err // without the URL, which may contain a secret
	}
	if err != nil {
		return Decision{}, fmt.Errorf("asking the guardrail: %w", err)
	}
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		return Decision{}, fmt.Errorf("the guardrail answered with status %d instead of 200", answer.StatusCode)
	}
	largest := 2*len(r.Body) + responseRoom
	text, err := io.ReadAll(io.LimitReader(answer.Body, int64(largest)+1))
	if err != nil {
		return Decision{}, fmt.Errorf("reading the guardrail's response: %w", err)
	}
	if len(text) > largest {
		return Decision{}, fmt.Errorf("the guardrail's response is larger than %d bytes", largest)
	}
	return decode(text, r)
}
