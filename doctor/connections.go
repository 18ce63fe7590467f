package doctor

import (
	"context"
	"fmt"
)

// spareConnections is the number of connections that the database should admit in addition to the gateways'
// connections, for an operator's psql, backups and one more gateway that starts.
const spareConnections = 10

// connections compares the connections that all gateways may open with the limit of
// the database. Other gateways are assumed to have the same limit as this one.
func (d *Doctor) connections(ctx context.Context) []Check {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	limits, ok, err := d.Engine.ConnectionLimits(ctx)
	if !ok {
		return nil
	}
	c := Check{Area: Store, Name: "connections", Verdict: Passed}
	if err != nil {
		c.Verdict, c.Found = Unknown, errText(err)
		return []Check{c}
	}
	gateways := d.Pool.Peers() + 1
	wanted := gateways * limits.Gateway
	plural := "s"
	if gateways == 1 {
		plural = ""
	}
	c.Found = fmt.Sprintf("%d gateway%s may open %d each, %d in all; the database admits %d", gateways, plural, limits.Gateway, wanted, limits.Database)
	switch {
	case wanted > limits.Database:
		c.Verdict = Failed
	case wanted+spareConnections > limits.Database:
		c.Verdict = Doubted
	default:
		return []Check{c}
	}
	c.Remedy = fmt.Sprintf("Under load gateways, psql and backups are refused. Set max_connections of PostgreSQL to %d or more, or lower max_conns of the gateways' store.", wanted+2*spareConnections)
	return []Check{c}
}
