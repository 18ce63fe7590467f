package store

import "github.com/tidegate/tidegate/batch"

// StorageLimit is a limit and whose contents it counts: of a tenant, or of
// batch.AllTenants.
type StorageLimit struct {
	batch.StorageLimit
	Tenant string
}

// All reports whether the limit is that of all tenants together.
func (l StorageLimit) All() bool { return l.Tenant == batch.AllTenants }

// StorageLimits returns the limits of a quota that an object of a tenant counts for.
func StorageLimits(q batch.Quota, tenant string) [2]StorageLimit {
	return [2]StorageLimit{{q.Tenant, tenant}, {q.All, batch.AllTenants}}
}
