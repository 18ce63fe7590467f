package templates

import (
	"strings"
)

// Wall is the model of the page for a wall-mounted screen.
type Wall struct {
	Overview
	Charts  []Chart // the last hour by minute
	Used    int     // slots that requests of all gateways take
	Slots   int     // of all servers whose number is known
	Unsized bool    // the number of some server is not known
	Up      int     // servers that take requests
}

// host returns the address of a server without its scheme.
func (u UpstreamRow) host() string {
	_, host, ok := strings.Cut(u.URL, "://")
	if !ok {
		return u.URL
	}
	return strings.TrimSuffix(host, "/")
}

// used returns the share of its slots in use.
func (u UpstreamRow) used() float64 { return Share(int64(u.Live+u.Batch+u.Others), int64(u.MaxSeqs)) }
