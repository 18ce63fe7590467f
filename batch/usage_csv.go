package batch

import (
	"encoding/csv"
	"io"
	"strconv"
	"time"
)

// UsageColumn is a column of names in a UsageReport.
type UsageColumn struct {
	Name string
	Text func(*UsageRow) string
}

// UsageColumns returns the columns of names of a report. names are those of keys, by id.
func UsageColumns(by UsageGroup, names map[string]string) (columns []UsageColumn) {
	for _, c := range []struct {
		wanted bool
		UsageColumn
	}{
		{by.Day, UsageColumn{"day", func(r *UsageRow) string { return r.Day.Format(time.DateOnly) }}},
		{by.Tenant, UsageColumn{"tenant", func(r *UsageRow) string { return r.Tenant }}},
		{by.Key, UsageColumn{"key_id", func(r *UsageRow) string { return r.KeyID }}},
		{by.Key, UsageColumn{"key_name", func(r *UsageRow) string { return names[r.KeyID] }}},
		{by.Model, UsageColumn{"model", func(r *UsageRow) string { return r.Model }}},
		{by.Class, UsageColumn{"class", func(r *UsageRow) string { return r.Class }}},
	} {
		if c.wanted {
			columns = append(columns, c.UsageColumn)
		}
	}
	return columns
}

// BatchUsageColumns returns the columns of names of a report by batch.
func BatchUsageColumns(names map[string]string) []UsageColumn {
	return append([]UsageColumn{{"batch_id", func(r *UsageRow) string { return r.BatchID }}},
		UsageColumns(UsageGroup{Day: true, Key: true, Model: true}, names)...)
}

// WriteCSV writes the rows of a report with a header (RFC 4180). Texts that a spreadsheet
// would evaluate as a formula begin with an apostrophe.
func (r *UsageReport) WriteCSV(w io.Writer, columns []UsageColumn, currency string) error {
	out := csv.NewWriter(w)
	out.UseCRLF = true
	var record []string
	for _, c := range columns {
		record = append(record, c.Name)
	}
	record = append(record, "requests", "failed_requests", "input_tokens", "cached_input_tokens", "output_tokens", "total_tokens", "cost", "currency", "unpriced_requests")
	_ = out.Write(record) // Error returns the first error
	for i := range r.Rows {
		row := &r.Rows[i]
		record = record[:0]
		for _, c := range columns {
			record = append(record, CSVText(c.Text(row)))
		}
		for _, n := range []int64{row.Requests, row.Failures, row.InputTokens, row.CachedTokens, row.OutputTokens, row.TotalTokens()} {
			record = append(record, strconv.FormatInt(n, 10))
		}
		record = append(record, row.Cost.String(), CSVText(currency), strconv.FormatInt(row.Unpriced, 10))
		_ = out.Write(record)
	}
	out.Flush()
	return out.Error()
}
