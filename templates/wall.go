package templates

import (
	"strings"
)

// Wall is the model of the page for a screen on a wall.
type Wall struct {
	Overview
	Charts  []Chart // the last hour by minute
	Used    int     // slots that requests of all gateways take
	Slots   int     // of all servers whose number is known
	Unsized bool    // the number of some server is not known
	Up      int     // servers that take requests
}

// host is the address of a server without its scheme.
func (u UpstreamRow) host() string {
	_, host, ok := strings.Cut(u.URL, "://")
	if !ok {
		return u.URL
	}
	return strings.TrimSuffix(host, "/")
}

// used is the share of its slots that are taken.
func (u UpstreamRow) used() float64 { return Share(int64(u.Live+u.Batch+u.Others), int64(u.MaxSeqs)) }
