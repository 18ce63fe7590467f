package batch

import (
	"io"
	"time"

	"github.com/tidegate/tidegate/internal/csvtable"
)

// UsageTableQuery asks for a UsageTable.
type UsageTableQuery struct {
	UsageQuery
	// ByBatch asks for a row for each batch that is not deleted, by its creation. By, Model
	// and Class are not used.
	ByBatch bool
}

// UsageTable is a usage report with its columns.
type UsageTable struct {
	UsageReport
	Columns  []UsageColumn // of names
	Currency string        // of costs, "" without prices
}

// UsageColumn is a column of names in a UsageTable.
type UsageColumn struct {
	Name string
	Text func(*UsageRow) string
}

// NewUsageTable returns the table of a report. keys has the names of keys by id.
func NewUsageTable(q UsageTableQuery, report UsageReport, keys map[string]string, currency string) UsageTable {
	by := q.By
	if q.ByBatch {
		by = UsageGroup{Day: true, Key: true, Model: true}
	}
	t := UsageTable{UsageReport: report, Currency: currency}
	for _, c := range []struct {
		wanted bool
		UsageColumn
	}{
		{q.ByBatch, UsageColumn{"batch_id", func(r *UsageRow) string { return r.BatchID }}},
		{by.Day, UsageColumn{"day", func(r *UsageRow) string { return r.Day.Format(time.DateOnly) }}},
		{by.Tenant, UsageColumn{"tenant", func(r *UsageRow) string { return r.Tenant }}},
		{by.Key, UsageColumn{"key_id", func(r *UsageRow) string { return r.KeyID }}},
		{by.Key, UsageColumn{"key_name", func(r *UsageRow) string { return keys[r.KeyID] }}},
		{by.Model, UsageColumn{"model", func(r *UsageRow) string { return r.Model }}},
		{by.Class, UsageColumn{"class", func(r *UsageRow) string { return r.Class }}},
	} {
		if c.wanted {
			t.Columns = append(t.Columns, c.UsageColumn)
		}
	}
	return t
}

// WriteCSV writes the rows with a header.
func (t *UsageTable) WriteCSV(w io.Writer) error {
	counts := []string{"requests", "failed_requests", "input_tokens", "cached_input_tokens", "output_tokens", "total_tokens", "cost", "currency", "unpriced_requests", "estimated_requests"}
	names := make([]string, 0, len(t.Columns)+len(counts))
	for _, c := range t.Columns {
		names = append(names, c.Name)
	}
	out := csvtable.NewWriter(w, append(names, counts...)...)
	var cells []any
	for i := range t.Rows {
		r := &t.Rows[i]
		cells = cells[:0]
		for _, c := range t.Columns {
			cells = append(cells, c.Text(r))
		}
		out.Row(append(cells, r.Requests, r.Failures, r.InputTokens, r.CachedTokens, r.OutputTokens, r.TotalTokens(), r.Cost, t.Currency, r.Unpriced, r.Estimated)...)
	}
	return out.Flush()
}
