package client

import (
	"context"
	"net/http"
)

// AdoptContents has a gateway take the contents that are there for those of its
// database.
func (c *Client) AdoptContents(ctx context.Context) error {
	type adopted struct{}
	_, err := do[adopted](ctx, c, call{method: http.MethodPost, path: "/contents/adopt", object: "contents"})
	return err
}
