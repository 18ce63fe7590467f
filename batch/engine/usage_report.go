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

// KeyUsage returns the usage of keys. See batch.AnalyticsStore.
func (r *Reads) KeyUsage(ctx context.Context, tenant string, q batch.UsageQuery) (batch.UsageReport, error) {
	return r.store.KeyUsage(ctx, tenant, q)
}

// mostUsageBatches limits the batches that are read to find those of a key.
const mostUsageBatches = 10 * batch.MaxUsageRows

// BatchUsage returns the usage of batches that are not deleted, the newest first. To find
// those of a key it reads on until the limit, at most mostUsageBatches.
func (r *Reads) BatchUsage(ctx context.Context, tenant string, q batch.BatchUsageQuery) (report batch.UsageReport, err error) {
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
			report.Rows = append(report.Rows, batchUsage(b))
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

// batchUsage returns the usage of a batch.
func batchUsage(b *batch.Batch) batch.UsageRow {
	return batch.UsageRow{
		Day: b.CreatedAt.UTC().Truncate(day), Tenant: b.Tenant, KeyID: b.KeyID, Model: b.Model, Class: batch.ClassBatch, BatchID: b.ID,
		Requests: b.Counts.Completed + b.Counts.Failed, Failures: b.Counts.Failed, Unpriced: b.Unpriced,
		InputTokens: b.Usage.InputTokens, CachedTokens: b.Usage.InputTokensDetails.CachedTokens, OutputTokens: b.Usage.OutputTokens, Cost: b.Cost,
	}
}

// KeyNames returns the names of managed keys by their ids, also of keys that are revoked or
// expired. The ids of other keys contain their names.
func (r *Reads) KeyNames(ctx context.Context) (map[string]string, error) {
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
