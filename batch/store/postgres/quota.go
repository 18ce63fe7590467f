package postgres

import (
	"context"
	"sync"

	"github.com/tidegate/tidegate/batch"
	"github.com/tidegate/tidegate/batch/store"
)

var (
	// lockStorage serializes what is stored with a quota. It is acquired after the row of an
	// upload and before those of table storage.
	lockStorage    = declare(`SELECT 1::bigint FROM pg_advisory_xact_lock(hashtextextended('storage', 17))`)
	pendingUploads = declare(`SELECT count(*) FROM uploads WHERE ($1 = '' OR tenant = $1) AND status = 'pending' AND expires_at > $2`)
)

// storageLock returns a function that acquires the lock of what is stored, when it is called
// first.
func (t *tx) storageLock(ctx context.Context) func() error {
	return sync.OnceValue(func() error {
		_, err := one(ctx, t, store.Value[int64], lockStorage)
		return err
	})
}

// admit returns a *batch.QuotaError if contents of a tenant exceed a quota.
func (t *tx) admit(ctx context.Context, q batch.Quota, tenant string, added batch.Stored) error {
	if added.Bytes <= 0 && added.Files <= 0 {
		return nil
	}
	lock := t.storageLock(ctx)
	for _, limit := range store.StorageLimits(q, tenant) {
		if limit.Bytes == 0 && limit.Files == 0 {
			continue
		}
		if err := lock(); err != nil {
			return err
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
	lock := t.storageLock(ctx)
	for _, limit := range store.StorageLimits(q, u.Tenant) {
		if limit.Uploads == 0 {
			continue
		}
		if err := lock(); err != nil {
			return err
		}
		tenant := limit.Tenant
		if limit.All() {
			tenant = ""
		}
		n, err := one(ctx, t, store.Value[int64], pendingUploads, tenant, t.micros())
		if err != nil {
			return err
		}
		if err := limit.CheckUploads(n, limit.All()); err != nil {
			return err
		}
	}
	return t.admit(ctx, q, u.Tenant, batch.Stored{Files: 1, Bytes: u.Bytes})
}

// admitPart returns a *batch.QuotaError if a part of an upload that is locked exceeds a
// quota.
func (t *tx) admitPart(ctx context.Context, q batch.Quota, u store.UploadRow, p batch.UploadPart) error {
	if q.Parts > 0 {
		n, err := one(ctx, t, store.Value[int64], countParts, u.Row)
		if err != nil {
			return err
		}
		if err := q.CheckParts(n); err != nil {
			return err
		}
	}
	return t.admit(ctx, q, u.Tenant, batch.Stored{Files: 1, Bytes: p.Bytes})
}
