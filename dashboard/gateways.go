package dashboard

import (
	"github.com/tidegate/tidegate/batch/engine"
	"github.com/tidegate/tidegate/templates"
)

// gateways returns the rows of the gateways that share the work.
func gateways(all []engine.Gateway) []templates.GatewayRow {
	rows := make([]templates.GatewayRow, 0, len(all))
	for _, g := range all {
		rows = append(rows, templates.GatewayRow{
			Host: g.Host, Serves: g.Role.Serves(), Works: g.Role.Works(), Self: g.Self, Since: g.Since, Live: g.Live, Batch: g.Batch,
		})
	}
	return rows
}
