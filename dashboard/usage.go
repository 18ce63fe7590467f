package dashboard

import (
	"bytes"
	"context"
	"net/http"
	"strconv"
	"time"

	"github.com/tidegate/tidegate/access"
	"github.com/tidegate/tidegate/batch"
	"github.com/tidegate/tidegate/internal/csvtable"
	"github.com/tidegate/tidegate/templates"
)

// Usage provides the usage of keys and its cost.
type Usage interface {
	// UsageTable returns the usage of the tenant, or by tenant that of all tenants.
	UsageTable(ctx context.Context, q batch.UsageTableQuery) (batch.UsageTable, error)
	// Currency returns the currency of costs, "" if there are no prices.
	Currency() string
}

// usageViews are the tables of the page, by the value of the parameter "by".
var usageViews = []struct {
	name       string
	group      batch.UsageGroup
	allTenants bool // for clients that see all tenants
}{
	{"day", batch.UsageGroup{Day: true}, false},
	{"key", batch.UsageGroup{Key: true}, false},
	{"model", batch.UsageGroup{Model: true, Class: true}, false},
	{"batch", batch.UsageGroup{}, false},
	{"tenant", batch.UsageGroup{Tenant: true}, true},
}

// usageRows limits the rows of the page. The CSV table has more.
const usageRows = 500

// monthFormat is the format of the parameter "month".
const monthFormat = "2006-01"

// usageQuery selects the table of the page.
type usageQuery struct {
	view     int // in usageViews
	from, to time.Time
}

func (d *Dashboard) usageQuery(r *http.Request) (q usageQuery) {
	values := r.URL.Query()
	for i, v := range usageViews {
		if v.name == values.Get("by") && (!v.allTenants || d.client(r).SeesTenants()) {
			q.view = i
		}
	}
	month, err := time.Parse(monthFormat, values.Get("month"))
	if err != nil {
		now := d.now().UTC()
		month = time.Date(now.Year(), now.Month(), 1, 0, 0, 0, 0, time.UTC)
	}
	q.from, q.to = month, month.AddDate(0, 1, 0)
	return q
}

// usageTable returns up to limit rows.
func (d *Dashboard) usageTable(ctx context.Context, q usageQuery, limit int) (batch.UsageTable, error) {
	view := &usageViews[q.view]
	return d.source.Usage.UsageTable(ctx, batch.UsageTableQuery{
		UsageQuery: batch.UsageQuery{From: q.from, To: q.to, By: view.group, Limit: limit},
		ByBatch:    view.name == "batch",
	})
}

func (d *Dashboard) usage(w http.ResponseWriter, r *http.Request) error {
	s := d.site(r, "Usage", "Usage")
	q := d.usageQuery(r)
	table, err := d.usageTable(r.Context(), q, usageRows)
	if err != nil {
		return err
	}
	by, month := usageViews[q.view].name, q.from.Format(monthFormat)
	page := func(by string, month time.Time) templates.Choice {
		return templates.Choice{Name: by, URL: s.With(s.To("usage"), "by", by, "month", month.Format(monthFormat))}
	}
	v := templates.Usage{
		By: by, Month: q.from, Currency: table.Currency, Total: usageRow(&table.Total, nil), More: table.More,
		Earlier: page(by, q.from.AddDate(0, -1, 0)).URL,
		CSV:     s.With(s.To("usage.csv"), "by", by, "month", month),
	}
	if q.to.Before(s.Now) {
		v.Later = page(by, q.to).URL
	}
	all := d.client(r).SeesTenants()
	for _, view := range usageViews {
		if view.allTenants && !all {
			continue
		}
		v.Views = append(v.Views, page(view.name, q.from))
	}
	v.Limits = d.limitTable(r.Context())
	v.Limits.All = d.client(r).May(access.Admin)
	for _, c := range table.Columns {
		v.Columns = append(v.Columns, c.Name)
	}
	for i := range table.Rows {
		row := usageRow(&table.Rows[i], table.Columns)
		if id := table.Rows[i].BatchID; id != "" {
			row.Page = s.To("batches", id)
		}
		v.Rows = append(v.Rows, row)
	}
	return d.render(w, r, http.StatusOK, templates.UsagePage(s, v))
}

func usageRow(r *batch.UsageRow, columns []batch.UsageColumn) templates.UsageRow {
	row := templates.UsageRow{
		Requests: r.Requests, Failures: r.Failures, Unpriced: r.Unpriced, Estimated: r.Estimated,
		InputTokens: r.InputTokens, CachedTokens: r.CachedTokens, OutputTokens: r.OutputTokens, Cost: templates.Cost{Short: r.Cost.Short(), Amount: r.Cost.String(), Zero: r.Cost == 0},
	}
	for _, c := range columns {
		row.Names = append(row.Names, c.Text(r))
	}
	return row
}

// usageCSV answers with the table of the page as CSV.
func (d *Dashboard) usageCSV(w http.ResponseWriter, r *http.Request) error {
	q := d.usageQuery(r)
	table, err := d.usageTable(r.Context(), q, batch.MaxUsageRows)
	if err != nil {
		return err
	}
	var body bytes.Buffer
	if err := table.WriteCSV(&body); err != nil {
		return err
	}
	csvtable.SetHeader(w.Header(), "usage-"+q.from.Format(monthFormat)+"-by-"+usageViews[q.view].name+".csv")
	w.Header().Set("Content-Length", strconv.Itoa(body.Len()))
	_, _ = w.Write(body.Bytes()) // an error means that the client has disconnected
	return nil
}

// batchCost returns the cost of a batch, with its currency; "" without prices.
func (d *Dashboard) batchCost(b *batch.Batch) string {
	currency := d.source.Usage.Currency()
	if currency == "" && b.Cost == 0 {
		return ""
	}
	return b.Cost.Short() + " " + currency
}
