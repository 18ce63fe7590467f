package client

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
)

// Key is a managed API key.
type Key struct {
	Object        string                 `json:"object"`
	ID            string                 `json:"id"`
	Key           string                 `json:"key,omitempty"` // the key itself, when it was just made
	Name          string                 `json:"name"`
	Tenant        string                 `json:"tenant"`
	Scopes        []string               `json:"scopes"`
	Models        []string               `json:"models"`
	Limits        map[string]json.Number `json:"limits"`
	CreatedAt     int64                  `json:"created_at"`
	CreatedBy     *string                `json:"created_by"`
	ExpiresAt     *int64                 `json:"expires_at"`
	RevokedAt     *int64                 `json:"revoked_at"`
	PreviousUntil *int64                 `json:"previous_until"`
}

// NewKey describes a key to create. Empty fields have the gateway's defaults.
type NewKey struct {
	Name   string   `json:"name"`
	Tenant string   `json:"tenant,omitempty"`
	Scopes []string `json:"scopes,omitempty"`
	Models []string `json:"models,omitempty"`
	// Limits limit the use by clients with the key, by the names of the configuration.
	Limits    map[string]json.Number `json:"limits,omitempty"`
	ExpiresAt int64                  `json:"expires_at,omitempty"`
}

// Keys lists the managed keys, the newest first.
func (c *Client) Keys(ctx context.Context) ([]Key, error) {
	type keys struct{ Data []Key }
	list, err := do[keys](ctx, c, call{method: http.MethodGet, path: "/v1/keys", object: "list"})
	return list.Data, err
}

// Key returns a managed key.
func (c *Client) Key(ctx context.Context, id string) (Key, error) {
	return do[Key](ctx, c, call{method: http.MethodGet, path: keyPath(id), object: "key"})
}

// CreateKey makes a key. It is not repeated after an error: each call makes a key.
func (c *Client) CreateKey(ctx context.Context, k NewKey) (Key, error) {
	return c.changeKey(ctx, "", k)
}

// RevokeKey revokes a key.
func (c *Client) RevokeKey(ctx context.Context, id string) (Key, error) {
	return do[Key](ctx, c, call{method: http.MethodPost, path: keyPath(id) + "/revoke", object: "key"})
}

// RotateKey replaces a key; the previous one is accepted for some seconds.
func (c *Client) RotateKey(ctx context.Context, id string, overlapSeconds int64) (Key, error) {
	return c.changeKey(ctx, "/"+url.PathEscape(id)+"/rotate", map[string]int64{"overlap_seconds": overlapSeconds})
}

// ChangeKeyLimits changes limits of a key by their names; 0 removes one.
func (c *Client) ChangeKeyLimits(ctx context.Context, id string, change map[string]json.Number) (Key, error) {
	body, err := json.Marshal(change)
	if err != nil {
		return Key{}, fmt.Errorf("encoding request: %w", err)
	}
	return do[Key](ctx, c, call{method: http.MethodPost, path: keyPath(id) + "/limits", object: "key", body: body})
}

func keyPath(id string) string { return "/v1/keys/" + url.PathEscape(id) }

// changeKey makes one request whose answer has a new key.
func (c *Client) changeKey(ctx context.Context, path string, request any) (k Key, err error) {
	body, err := json.Marshal(request)
	if err != nil {
		return k, fmt.Errorf("encoding request: %w", err)
	}
	if err := c.once(ctx, call{method: http.MethodPost, path: "/v1/keys" + path, object: "key", body: body}, &k); err != nil {
		return k, c.explain(err)
	}
	return k, nil
}
