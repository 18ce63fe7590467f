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
				Requests: n, Failures: 1, Unpriced: int64(i), InputTokens: 1000 * n, CachedTokens: 400 * n, OutputTokens: 100 * n, Cost: batch.Money(1_234_567 * n),
			})
		}
	}
	return rows
}

// KeyUsage returns the rows with the names of the group.
func (u usage) KeyUsage(_ context.Context, q batch.UsageQuery) (report batch.UsageReport, err error) {
	unlock, err := u.begin()
	if err != nil {
		return report, err
	}
	defer unlock()
	for _, row := range u.rows() {
		if row.Day.Before(q.From) || !row.Day.Before(q.To) {
			continue
		}
		report.Rows = append(report.Rows, row)
		report.Total.Add(&row)
	}
	return report, nil
}

// BatchUsage returns the rows as batches.
func (u usage) BatchUsage(ctx context.Context, q batch.BatchUsageQuery) (batch.UsageReport, error) {
	return u.KeyUsage(ctx, batch.UsageQuery{From: q.From, To: q.To})
}

// KeyNames returns the name of a key.
func (u usage) KeyNames(context.Context) (map[string]string, error) {
	return map[string]string{"key_1": u.Say("nightly")}, nil
}

// Currency returns a currency.
func (u usage) Currency() string { return "EUR" }
