package templates

import "time"

// GatewayRow is a gateway in a list.
type GatewayRow struct {
	Host          string
	ID            string // shown beside the host; "" if no other has the same host
	Serves, Works bool
	Self          bool // the one that shows the page
	Since         time.Time
	Live, Batch   int // in flight
}

func (g GatewayRow) role() string {
	switch {
	case !g.Works:
		return "live requests and the API"
	case !g.Serves:
		return "batch work"
	default:
		return "everything"
	}
}
