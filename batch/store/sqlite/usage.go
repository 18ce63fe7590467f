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

// addUsage adds to the bucket of a time.
func (t *tx) addUsage(ctx context.Context, at time.Time, records []batch.UsageRecord) error {
	bucket := store.BucketOf(at)
	for _, r := range store.BucketRecords(records) {
		sum, err := t.summed(ctx, r, selectCell, store.ScanUsage, r.Tenant, bucket, r.Class, r.Model, r.Endpoint)
		if err != nil {
			return err
		}
		if _, err := t.exec(ctx, putCell, bucket, sum.Tenant, sum.Class, sum.Model, sum.Endpoint, sum.Requests, sum.Failures,
			sum.Usage.InputTokens, sum.Usage.InputTokensDetails.CachedTokens,
			sum.Usage.OutputTokens, sum.Usage.OutputTokensDetails.ReasoningTokens, sum.Usage.TotalTokens); err != nil {
			return err
		}
	}
	return t.addKeyUsage(ctx, at, records)
}

// summed returns the sum of a record and of the one that is selected, if there is one.
// It adds in Go, because SQL's + turns into floating point where it overflows.
func (t *tx) summed(ctx context.Context, r batch.UsageRecord, selected *statement, scan func(store.Row) (batch.UsageRecord, error), args ...any) (batch.UsageRecord, error) {
	stored, err := one(ctx, t, selected, scan, args...)
	if errors.Is(err, batch.ErrNotFound) {
		return r, nil
	}
	stored.Add(r)
	return stored, err
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
