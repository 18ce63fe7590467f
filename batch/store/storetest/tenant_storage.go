package storetest

import (
	"cmp"
	"slices"
	"time"

	"github.com/tidegate/tidegate/batch"
	"github.com/tidegate/tidegate/internal/openai"
)

// tenantStorageTest is in the group of analytics.
var tenantStorageTest = test{"what tenants store", func(e *env) {
	check := func(when string, want ...batch.TenantStored) {
		e.Helper()
		got, err := e.s.TenantStorage(e.Context(), batch.AllTenants)
		e.ok(err)
		equal(e, when, got, want)
		for _, w := range want {
			got, err := e.s.TenantStorage(e.Context(), w.Tenant)
			e.ok(err)
			equal(e, when+", of "+w.Tenant, got, []batch.TenantStored{w})
		}
		none, err := e.s.TenantStorage(e.Context(), "none")
		e.ok(err)
		equal(e, when+", of none", none, nil)
	}
	check("nothing is stored")
	e.file(func(n *batch.NewFile) { n.Bytes = 1000 })
	e.file(func(n *batch.NewFile) { n.Bytes, n.Purpose = 50, openai.PurposeBatchOutput })
	e.file(func(n *batch.NewFile) {
		n.Bytes, n.Purpose, n.Tenant = 7, batch.PurposeIndex, batch.IndexTenant(tenant)
	})
	u := e.upload()
	part := e.part(u)
	for range 2 {
		_, err := e.s.CreateUpload(e.Context(), batch.Upload{ID: e.id("upload_"), Tenant: rival, Purpose: "batch", Bytes: 1}, time.Hour, batch.Quota{})
		e.ok(err)
	}
	own := batch.TenantStored{Tenant: tenant, Stored: batch.Stored{Files: 4, Bytes: 1057 + part.Bytes}, Uploads: 1}
	theirs := batch.TenantStored{Tenant: rival, Uploads: 2}
	check("files and pending uploads", sortedTenants(own, theirs)...)
	_, err := e.s.CancelUpload(e.Context(), tenant, u.ID)
	e.ok(err)
	own.Uploads, own.Files, own.Bytes = 0, 3, 1057
	check("after an upload was cancelled", sortedTenants(own, theirs)...)
	e.db.Advance(2 * time.Hour)
	check("after the others have expired", own)
}}

// sortedTenants sorts as TenantStorage does.
func sortedTenants(list ...batch.TenantStored) []batch.TenantStored {
	slices.SortFunc(list, func(a, b batch.TenantStored) int { return cmp.Compare(a.Tenant, b.Tenant) })
	return list
}
