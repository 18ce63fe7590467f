package dashboard

import (
	"github.com/tidegate/tidegate/batch/engine"
	"github.com/tidegate/tidegate/templates"
)

// shownID is the number of characters shown of a gateway's ID, which is random.
const shownID = 8

func clipID(id string) string { return id[:min(len(id), shownID)] }

// gateways returns the rows of the gateways that share the work.
func gateways(all []engine.Gateway) []templates.GatewayRow {
	hosts := make(map[string]int, len(all))
	for _, g := range all {
		hosts[g.Host]++
	}
	rows := make([]templates.GatewayRow, 0, len(all))
	for _, g := range all {
		id := ""
		if hosts[g.Host] > 1 {
			id = clipID(g.ID)
		}
		rows = append(rows, templates.GatewayRow{
			Host: g.Host, ID: id, Serves: g.Role.Serves(), Works: g.Role.Works(), Self: g.Self, Since: g.Since, Live: g.Live, Batch: g.Batch,
		})
	}
	return rows
}
