package client

import (
	"context"
	"net/http"
	"net/url"
	"strconv"
)

// AuditEntry is an entry of the audit log.
type AuditEntry struct {
	Object    string  `json:"object"` // "audit.entry"
	ID        string  `json:"id"`
	CreatedAt int64   `json:"created_at"`
	Action    string  `json:"action"`
	Outcome   string  `json:"outcome"`
	Target    string  `json:"target"`
	Tenant    string  `json:"tenant"`
	Detail    string  `json:"detail"`
	KeyID     *string `json:"key_id"`
	KeyName   *string `json:"key_name"`
	KeyTenant *string `json:"key_tenant"`
	Via       string  `json:"via"`
	Address   string  `json:"address"`
	RequestID string  `json:"request_id"`
}

// auditPage is the number of entries in one request.
const auditPage = 1000

// Audit calls visit with the entries of a period, the newest first, until visit returns
// false. since and until are times as the API reads them, or "".
func (c *Client) Audit(ctx context.Context, since, until string, visit func(AuditEntry) bool) error {
	type page struct {
		Data    []AuditEntry `json:"data"`
		HasMore bool         `json:"has_more"`
	}
	query := url.Values{"limit": {strconv.Itoa(auditPage)}}
	for name, value := range map[string]string{"since": since, "until": until} {
		if value != "" {
			query.Set(name, value)
		}
	}
	for {
		p, err := do[page](ctx, c, call{method: http.MethodGet, path: "/v1/audit?" + query.Encode(), object: "list"})
		if err != nil {
			return err
		}
		for _, e := range p.Data {
			if !visit(e) {
				return nil
			}
		}
		if !p.HasMore || len(p.Data) == 0 {
			return nil
		}
		query.Set("after", p.Data[len(p.Data)-1].ID)
	}
}
