package source

import (
	"context"

	"github.com/tidegate/tidegate/batch"
)

// costs is the usage of the tenant.
type costs struct{ *source }

// KeyUsage returns the usage of keys.
func (u costs) KeyUsage(ctx context.Context, q batch.UsageQuery) (batch.UsageReport, error) {
	return u.Engine.KeyUsage(ctx, u.Tenant, q)
}

// BatchUsage returns the usage of batches.
func (u costs) BatchUsage(ctx context.Context, q batch.BatchUsageQuery) (batch.UsageReport, error) {
	return u.Engine.BatchUsage(ctx, u.Tenant, q)
}

// KeyNames returns the names of managed keys.
func (u costs) KeyNames(ctx context.Context) (map[string]string, error) {
	return u.Engine.KeyNames(ctx)
}

// Currency returns the currency of costs.
func (u costs) Currency() string { return u.Engine.Currency() }
