package engine

import (
	"context"

	"github.com/tidegate/tidegate/batch"
)

// ActiveBatches lists batches that are not over: those that run in the order in
// which they are served, then those that end or wait for their validation; at
// most limit.
func (r *Reads) ActiveBatches(ctx context.Context, tenant string, limit int) ([]batch.Batch, error) {
	running, err := r.store.ActiveBatches(ctx, limit)
	if err != nil {
		return nil, err
	}
	var active []batch.Batch
	for _, b := range running {
		if b.Tenant == tenant {
			active = append(active, b)
		}
	}
	for _, status := range []batch.Status{batch.Finalizing, batch.Cancelling, batch.Validating} {
		left := limit - len(active)
		if left <= 0 {
			break
		}
		page, err := r.store.FindBatches(ctx, tenant, batch.BatchFilter{Status: status, Limit: left})
		if err != nil {
			return nil, err
		}
		active = append(active, page.Batches...)
	}
	return active, nil
}
