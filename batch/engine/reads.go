package engine

import (
	"context"
	"time"

	"github.com/tidegate/tidegate/batch"
)

// Reads answers questions about batches and about this gateway, for the API, the
// dashboard and the doctor. It changes nothing.
type Reads struct {
	*parts
	backlog *backlog
	member  *member
}

// Batch returns one batch, or ErrNotFound.
func (r *Reads) Batch(ctx context.Context, tenant, id string) (batch.Batch, error) {
	return r.store.Batch(ctx, tenant, id)
}

// Batches returns a page of batches, newest first, and reports whether more follow.
func (r *Reads) Batches(ctx context.Context, tenant string, q batch.BatchQuery) ([]batch.Batch, bool, error) {
	return r.store.Batches(ctx, tenant, q)
}

// RetriedWith returns the batch that RetryFailed created with an idempotency key, also if it
// was deleted since. It returns ErrNotFound for an unused key, and ErrKeyReused for a key of
// another request.
func (r *Reads) RetriedWith(ctx context.Context, tenant, id, key string) (batch.Batch, error) {
	return r.store.BatchOfKey(ctx, tenant, key, retryHash(id))
}

// StoreTime is the store's clock.
func (r *Reads) StoreTime(ctx context.Context) (time.Time, error) { return r.store.Now(ctx) }

// ConnectionLimits returns the limits of connections to the store's database; ok is
// false if the store has none.
func (r *Reads) ConnectionLimits(ctx context.Context) (l batch.ConnectionLimits, ok bool, err error) {
	limiter := r.store.Capabilities().Connections
	if limiter == nil {
		return l, false, nil
	}
	l, err = limiter.ConnectionLimits(ctx)
	return l, true, err
}

// Analytics returns the figures of the reports.
func (r *Reads) Analytics() batch.AnalyticsStore { return r.store }
