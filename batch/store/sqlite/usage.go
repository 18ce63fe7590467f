package sqlite

import (
	"context"
	"errors"
	"time"

	"github.com/tidegate/tidegate/batch"
	"github.com/tidegate/tidegate/batch/store"
)

var (
	selectCell = reads(`SELECT ` + store.UsageColumns + ` FROM usage_15m WHERE tenant = ? AND bucket = ? AND class = ? AND model = ? AND endpoint = ?`)
	putCell    = writes(`INSERT OR REPLACE INTO usage_15m (bucket, ` + store.UsageColumns + `) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`)
	usageSince = reads(`SELECT ` + store.UsageColumns + ` FROM usage_15m WHERE tenant = ? AND bucket >= ?`)
)

// addUsage adds to the bucket of a time. It reads, adds and writes: SQL's + turns into floating point where it
// overflows.
func (t *tx) addUsage(ctx context.Context, at time.Time, records []batch.UsageRecord) error {
	bucket := store.BucketOf(at)
	for _, r := range store.BucketRecords(records) {
		sum, err := one(ctx, t, selectCell, store.ScanUsage, r.Tenant, bucket, r.Class, r.Model, r.Endpoint)
		switch {
		case errors.Is(err, batch.ErrNotFound):
			sum = r
		case err != nil:
			return err
		default:
			sum.Add(r)
		}
		if _, err := t.exec(ctx, putCell, bucket, sum.Tenant, sum.Class, sum.Model, sum.Endpoint, sum.Requests, sum.Failures,
			sum.Usage.InputTokens, sum.Usage.InputTokensDetails.CachedTokens,
			sum.Usage.OutputTokens, sum.Usage.OutputTokensDetails.ReasoningTokens, sum.Usage.TotalTokens); err != nil {
			return err
		}
	}
	return t.addKeyUsage(ctx, at, records)
}

// AddUsage adds to the present bucket and day.
func (s *Store) AddUsage(ctx context.Context, records []batch.UsageRecord) error {
	return s.write(ctx, "adding usage", func(t *tx) error { return t.addUsage(ctx, t.now, records) })
}

// AddUsageAt adds to the bucket of a time in the past. The demo fills its charts
// with it.
func (s *Store) AddUsageAt(ctx context.Context, at time.Time, records []batch.UsageRecord) error {
	return s.write(ctx, "adding usage", func(t *tx) error { return t.addUsage(ctx, at, records) })
}

// Usage sums the buckets from the one that contains since, with a record for each
// class, model and endpoint.
func (s *Store) Usage(ctx context.Context, tenant string, since time.Time) ([]batch.UsageRecord, error) {
	var sums []batch.UsageRecord
	err := s.read(ctx, "summing usage", func(t *tx) error {
		buckets, err := all(ctx, t, usageSince, store.ScanUsage, tenant, store.BucketOf(since))
		sums = store.SumRecords(buckets)
		return err
	})
	return sums, err
}
