package client

import (
	"context"
	"encoding/json"
	"net/http"

	"github.com/tidegate/tidegate/internal/receipt"
)

// Receipt returns the signed receipt of a batch, as the gateway wrote it.
func (c *Client) Receipt(ctx context.Context, id string) (json.RawMessage, error) {
	return do[json.RawMessage](ctx, c, call{method: http.MethodGet, path: batchPath(id) + "/receipt", object: receipt.Object})
}

// ReceiptKeys returns the public keys that verify receipts of the gateway.
func (c *Client) ReceiptKeys(ctx context.Context) (receipt.Keys, error) {
	return do[receipt.Keys](ctx, c, call{method: http.MethodGet, path: "/v1/batches/receipt_keys", object: "list"})
}
