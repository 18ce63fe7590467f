package client

import (
	"context"
	"net/http"
)

// Report has the findings of the gateway's doctor.
type Report struct {
	Object string  `json:"object"` // "doctor.report"
	At     string  `json:"at"`     // RFC 3339
	Checks []Check `json:"checks"`
}

// Check is one check of the doctor.
type Check struct {
	Area    string `json:"area"`
	Name    string `json:"name"`
	Verdict string `json:"verdict"` // ok, warning, failed, unknown
	Found   string `json:"found"`
	Remedy  string `json:"remedy,omitempty"`
}

// Doctor requests a report.
func (c *Client) Doctor(ctx context.Context) (Report, error) {
	return do[Report](ctx, c, call{method: http.MethodGet, path: "/doctor", object: "doctor.report"})
}
