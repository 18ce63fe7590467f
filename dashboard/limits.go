package dashboard

import (
	"context"
	"slices"

	"github.com/tidegate/tidegate/access/limits"
	"github.com/tidegate/tidegate/templates"
)

// Limits provides limits and their use.
type Limits interface {
	// Limits returns the limits that the client of the context may see: all to an
	// administrator, else those of its key and of its tenant.
	Limits(ctx context.Context) []limits.Usage
}

// limitedOwners limits the keys and tenants whose limits are shown. The API has all.
const limitedOwners = 100

// limitTable returns the limits and their use, those of the keys and tenants that have used
// most of one first.
func (d *Dashboard) limitTable(ctx context.Context) (v templates.LimitTable) {
	type owner struct {
		rows []templates.LimitRow
		part float64 // the largest
	}
	var owners []owner
	for _, u := range d.source.Limits.Limits(ctx) {
		o := owner{rows: limitRows(u)}
		for _, r := range o.rows {
			o.part = max(o.part, r.Part)
		}
		owners = append(owners, o)
	}
	slices.SortStableFunc(owners, func(a, b owner) int {
		switch {
		case a.part > b.part:
			return -1
		case a.part < b.part:
			return 1
		}
		return 0
	})
	if v.More = len(owners) > limitedOwners; v.More {
		owners = owners[:limitedOwners]
	}
	for _, o := range owners {
		v.Rows = append(v.Rows, o.rows...)
	}
	return v
}

// limitRows returns the limits of a key or a tenant.
func limitRows(u limits.Usage) (rows []templates.LimitRow) {
	for _, f := range u.Limits.Fields() {
		if *f.Value <= 0 {
			continue
		}
		row := templates.LimitRow{Tenant: u.Tenant, Key: u.Key, KeyName: u.KeyName, KeyTenant: u.KeyTenant, Name: f.Name, Allowed: limitText(f)}
		if b, ok := u.Budgets[f.Name]; ok {
			row.Used, row.Part, row.Renewed, row.Partly = budgetText(b.Used), b.Used.Part(b.Limit), b.RenewedAt, !b.Complete
		} else if used, ok := u.Used[f.Name]; ok {
			_, row.Rate = u.Remaining[f.Name]
			row.Used, row.Part = templates.Count(used), max(0, min(1, float64(used)/float64(*f.Value)))
		}
		rows = append(rows, row)
	}
	for _, l := range u.Storage {
		text := templates.Count
		if l.Bytes {
			text = templates.Bytes
		}
		row := templates.LimitRow{Tenant: u.Tenant, Name: l.Name, Allowed: text(l.Limit), Default: l.Default}
		if l.Used != nil {
			row.Used, row.Part = text(*l.Used), max(0, min(1, float64(*l.Used)/float64(l.Limit)))
		}
		rows = append(rows, row)
	}
	return rows
}

// budgetText returns a number of tokens, or an amount of money, for readers.
func budgetText(q limits.Quantity) string {
	if n, ok := q.Count(); ok {
		return templates.Count(n)
	}
	return q.Short()
}
