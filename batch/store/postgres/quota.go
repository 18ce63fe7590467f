package postgres

import (
	"context"

	"github.com/tidegate/tidegate/batch"
	"github.com/tidegate/tidegate/batch/store"
)

var (
	// lockStorage serializes what a tenant stores with a quota, and lockAllStorage what all
	// tenants store, if there is a limit for it. They are acquired in this order, after the
	// row of an upload and before those of table storage.
	lockStorage    = declare(`SELECT 1::bigint FROM pg_advisory_xact_lock(hashtextextended('storage of ' || $1, 17))`)
	lockAllStorage = declare(`SELECT 1::bigint FROM pg_advisory_xact_lock(hashtextextended('storage', 17))`)
	pendingUploads = declare(`SELECT count(*) FROM uploads WHERE ($1 = '' OR tenant = $1) AND status = 'pending' AND expires_at > $2`)
)

// storageLocks are the locks of what is stored that a transaction has for a tenant.
type storageLocks struct {
	*tx
	tenant   string
	own, all bool
}

// acquire acquires the lock for a limit.
func (l *storageLocks) acquire(ctx context.Context, limit store.StorageLimit) error {
	if !l.own {
		if _, err := one(ctx, l.tx, store.Value[int64], lockStorage, l.tenant); err != nil {
			return err
		}
		l.own = true
	}
	if limit.All() && !l.all {
		if _, err := one(ctx, l.tx, store.Value[int64], lockAllStorage); err != nil {
			return err
		}
		l.all = true
	}
	return nil
}

// admit returns a *batch.QuotaError if contents of a tenant exceed a quota.
func (t *tx) admit(ctx context.Context, q batch.Quota, tenant string, added batch.Stored) error {
	return t.admitContents(ctx, q, &storageLocks{tx: t, tenant: tenant}, added)
}

func (t *tx) admitContents(ctx context.Context, q batch.Quota, locks *storageLocks, added batch.Stored) error {
	if added.Bytes <= 0 && added.Files <= 0 {
		return nil
	}
	for _, limit := range store.StorageLimits(q, locks.tenant) {
		if limit.Bytes == 0 && limit.Files == 0 {
			continue
		}
		if err := locks.acquire(ctx, limit); err != nil {
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
	locks := &storageLocks{tx: t, tenant: u.Tenant}
	for _, limit := range store.StorageLimits(q, u.Tenant) {
		if limit.Uploads == 0 {
			continue
		}
		if err := locks.acquire(ctx, limit); err != nil {
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
	return t.admitContents(ctx, q, locks, batch.Stored{Files: 1, Bytes: u.Bytes})
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
