package dashboardtest

import (
	"context"
	"time"

	"github.com/tidegate/tidegate/batch"
)

type usage struct{ *Fake }

// rows are the usage of two keys on each of two days. The caller holds mu.
func (u usage) rows() (rows []batch.UsageRow) {
	if len(u.batches) == 0 {
		return nil
	}
	today := u.Clock().UTC().Truncate(24 * time.Hour)
	for back := range int64(2) {
		for i, key := range []string{"key_1", "static/" + u.Say("web")} {
			n := 100*back + int64(i) + 1
			rows = append(rows, batch.UsageRow{
				Day: today.Add(-time.Duration(back) * 24 * time.Hour), Tenant: "default", KeyID: key, Model: u.Say("Qwen/Qwen3-32B"), Class: batch.ClassLive, BatchID: u.batches[0].ID,
				Requests: n, Failures: 1, Unpriced: int64(i), Estimated: int64(i), InputTokens: 1000 * n, CachedTokens: 400 * n, OutputTokens: 100 * n, Cost: batch.Money(1_234_567 * n),
			})
		}
	}
	return rows
}

// UsageTable returns the rows of a period with the columns of q.
func (u usage) UsageTable(_ context.Context, q batch.UsageTableQuery) (batch.UsageTable, error) {
	unlock, err := u.begin()
	if err != nil {
		return batch.UsageTable{}, err
	}
	defer unlock()
	var report batch.UsageReport
	for _, row := range u.rows() {
		if row.Day.Before(q.From) || !row.Day.Before(q.To) {
			continue
		}
		report.Rows = append(report.Rows, row)
		report.Total.Add(&row)
	}
	return batch.NewUsageTable(q, report, map[string]string{"key_1": u.Say("nightly")}, u.Currency()), nil
}

// Currency returns a currency.
func (u usage) Currency() string { return "EUR" }
