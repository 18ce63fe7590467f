package source

import (
	"context"

	"github.com/tidegate/tidegate/batch"
)

// costs is the usage of the tenant.
type costs struct{ *source }

// UsageTable returns the usage of keys or batches, or by tenant that of all tenants.
func (u costs) UsageTable(ctx context.Context, q batch.UsageTableQuery) (batch.UsageTable, error) {
	tenant := u.Tenant
	if q.By.Tenant {
		tenant = batch.AllTenants
	}
	return u.Engine.UsageTable(ctx, tenant, q)
}

// Currency returns the currency of costs.
func (u costs) Currency() string { return u.Engine.Currency() }
