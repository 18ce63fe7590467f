package sqlite

import (
	"context"

	"github.com/tidegate/tidegate/batch"
	"github.com/tidegate/tidegate/batch/store"
)

var pendingUploads = reads(`SELECT count(*) FROM uploads WHERE (?1 = '' OR tenant = ?1) AND status = 'pending' AND expires_at > ?2`)

// admit returns a *batch.QuotaError if contents of a tenant exceed a quota.
func (t *tx) admit(ctx context.Context, q batch.Quota, tenant string, added batch.Stored) error {
	for _, limit := range store.StorageLimits(q, tenant) {
		if limit.Bytes == 0 && limit.Files == 0 || added.Bytes <= 0 && added.Files <= 0 {
			continue
		}
		uses, err := t.storage(ctx, limit.Tenant)
		if err != nil {
			return err
		}
		if err := limit.Check(batch.StoredOf(uses), added, limit.All()); err != nil {
			return err
		}
	}
	return nil
}

// admitUpload returns a *batch.QuotaError if an upload exceeds a quota.
func (t *tx) admitUpload(ctx context.Context, q batch.Quota, u batch.Upload) error {
	for _, limit := range store.StorageLimits(q, u.Tenant) {
		if limit.Uploads == 0 {
			continue
		}
		tenant := limit.Tenant
		if limit.All() {
			tenant = ""
		}
		n, err := one(ctx, t, pendingUploads, store.Value[int64], tenant, store.Micros(t.now))
		if err != nil {
			return err
		}
		if err := limit.CheckUploads(n, limit.All()); err != nil {
			return err
		}
	}
	return t.admit(ctx, q, u.Tenant, batch.Stored{Files: 1, Bytes: u.Bytes})
}

// admitPart returns a *batch.QuotaError if a part of an upload exceeds a quota.
func (t *tx) admitPart(ctx context.Context, q batch.Quota, u store.UploadRow, p batch.UploadPart) error {
	if q.Parts > 0 {
		n, err := one(ctx, t, countParts, store.Value[int64], u.Row)
		if err != nil {
			return err
		}
		if err := q.CheckParts(n); err != nil {
			return err
		}
	}
	return t.admit(ctx, q, u.Tenant, batch.Stored{Files: 1, Bytes: p.Bytes})
}
