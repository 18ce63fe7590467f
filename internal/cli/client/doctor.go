package client

import (
	"context"
	"net/http"
)

// Report is what the gateway's doctor found.
type Report struct {
	Object string  `json:"object"` // "doctor.report"
	At     string  `json:"at"`     // RFC 3339
	Checks []Check `json:"checks"`
}

// Check is one thing that the doctor looked at.
type Check struct {
	Area    string `json:"area"`
	Name    string `json:"name"`
	Verdict string `json:"verdict"` // ok, warning, failed, unknown
	Found   string `json:"found"`
	Remedy  string `json:"remedy,omitempty"`
}

// Doctor asks for a report.
func (c *Client) Doctor(ctx context.Context) (Report, error) {
	return do[Report](ctx, c, call{method: http.MethodGet, path: "/doctor", object: "doctor.report"})
}
