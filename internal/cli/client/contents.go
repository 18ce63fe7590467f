package client

import (
	"context"
	"net/http"
)

// AdoptContents makes a gateway accept the present contents as those of its database.
func (c *Client) AdoptContents(ctx context.Context) error {
	type adopted struct{}
	_, err := do[adopted](ctx, c, call{method: http.MethodPost, path: "/contents/adopt", object: "contents"})
	return err
}
