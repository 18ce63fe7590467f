package engine

import (
	"context"
	"time"

	"github.com/tidegate/tidegate/batch"
)

// Currency returns the currency of the prices, "" if there are none.
func (r *Reads) Currency() string {
	if p := r.config().Prices; p != nil {
		return p.Currency
	}
	return ""
}

// UsageTable returns the usage of a tenant, or of batch.AllTenants if it is not by batch.
func (r *Reads) UsageTable(ctx context.Context, tenant string, q batch.UsageTableQuery) (t batch.UsageTable, err error) {
	var keys map[string]string
	if q.By.Key || q.ByBatch {
		if keys, err = r.keyNames(ctx); err != nil {
			return t, err
		}
	}
	read := r.store.KeyUsage
	if q.ByBatch {
		read = r.batchUsage
	}
	report, err := read(ctx, tenant, q.UsageQuery)
	return batch.NewUsageTable(q, report, keys, r.Currency()), err
}

// mostUsageBatches limits the batches that are read to find those of a key.
const mostUsageBatches = 10 * batch.MaxUsageRows

// batchUsage returns the usage of batches that are not deleted, the newest first. To find
// those of a key it reads on until the limit, at most mostUsageBatches.
func (r *Reads) batchUsage(ctx context.Context, tenant string, q batch.UsageQuery) (report batch.UsageReport, err error) {
	limit := min(q.Limit, batch.MaxUsageRows)
	filter := batch.BatchFilter{From: q.From.Truncate(day), To: q.To.Add(day - 1).Truncate(day), Limit: limit}
	if q.KeyID != "" {
		filter.Limit = batch.MaxUsageRows
	}
	for read := 0; ; {
		found, err := r.store.FindBatches(ctx, tenant, filter)
		if err != nil {
			return report, err
		}
		for i := range found.Batches {
			b := &found.Batches[i]
			if q.KeyID != "" && b.KeyID != q.KeyID {
				continue
			}
			if report.More = len(report.Rows) == limit; report.More {
				return report, nil
			}
			report.Rows = append(report.Rows, usageRow(b))
			report.Total.Add(&report.Rows[len(report.Rows)-1])
		}
		read += len(found.Batches)
		if !found.More || q.KeyID == "" || read >= mostUsageBatches {
			report.More = found.More
			return report, nil
		}
		filter.After = found.After
	}
}

const day = 24 * time.Hour

// usageRow returns the usage of a batch.
func usageRow(b *batch.Batch) batch.UsageRow {
	return batch.UsageRow{
		Day: b.CreatedAt.UTC().Truncate(day), Tenant: b.Tenant, KeyID: b.KeyID, Model: b.Model, Class: batch.ClassBatch, BatchID: b.ID,
		Requests: b.Counts.Completed + b.Counts.Failed, Failures: b.Counts.Failed, Unpriced: b.Unpriced,
		InputTokens: b.Usage.InputTokens, CachedTokens: b.Usage.InputTokensDetails.CachedTokens, OutputTokens: b.Usage.OutputTokens, Cost: b.Cost,
	}
}

// keyNames returns the names of managed keys by their ids, also of keys that are revoked or
// expired. The ids of other keys contain their names.
func (r *Reads) keyNames(ctx context.Context) (map[string]string, error) {
	keys, _, err := r.store.Keys(ctx)
	if err != nil {
		return nil, err
	}
	names := make(map[string]string, len(keys))
	for i := range keys {
		names[keys[i].ID] = keys[i].Name
	}
	return names, nil
}
