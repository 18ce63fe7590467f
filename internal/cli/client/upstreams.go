package client

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"

	"github.com/tidegate/tidegate/internal/openai"
)

// Upstream is one model server of the gateway's pool.
type Upstream struct {
	URL           string   `json:"url"`
	State         string   `json:"state"`
	Reason        string   `json:"reason"`
	Draining      bool     `json:"draining"`
	Models        []string `json:"models"`
	LiveInFlight  int      `json:"live_in_flight"`
	BatchInFlight int      `json:"batch_in_flight"`
}

type upstreamList struct {
	Data []Upstream `json:"data"`
}

// Models returns the models of the pool.
func (c *Client) Models(ctx context.Context) ([]openai.Model, error) {
	l, err := do[openai.List[openai.Model]](ctx, c, call{method: http.MethodGet, path: "/v1/models", object: "list"})
	return l.Data, err
}

// Upstreams returns the servers of the pool in the configuration's order.
func (c *Client) Upstreams(ctx context.Context) ([]Upstream, error) {
	l, err := do[upstreamList](ctx, c, call{method: http.MethodGet, path: "/upstreams", object: "list"})
	return l.Data, err
}

// Drain stops new requests to a server until Undrain; running requests finish.
// It returns all servers, as Upstreams does.
func (c *Client) Drain(ctx context.Context, url string) ([]Upstream, error) {
	return c.setDraining(ctx, "/upstreams/drain", url)
}

// Undrain ends a drain.
func (c *Client) Undrain(ctx context.Context, url string) ([]Upstream, error) {
	return c.setDraining(ctx, "/upstreams/undrain", url)
}

func (c *Client) setDraining(ctx context.Context, path, url string) ([]Upstream, error) {
	body, err := json.Marshal(map[string]string{"url": url})
	if err != nil {
		return nil, fmt.Errorf("encoding request: %w", err)
	}
	l, err := do[upstreamList](ctx, c, call{method: http.MethodPost, path: path, object: "list", body: body})
	return l.Data, err
}
