package postgres

import (
	"context"
	"time"

	"github.com/tidegate/tidegate/batch"
	"github.com/tidegate/tidegate/batch/store"
)

// Counts saturate at the limits of bigint: an absurd count may distort statistics,
// but must not fail a commit.
const plus = `greatest(-9223372036854775808, least(9223372036854775807, `

var (
	addCells = declare(`INSERT INTO usage_15m AS u (bucket, ` + store.UsageColumns + `)
		SELECT $1::bigint, * FROM unnest($2::text[], $3::text[], $4::text[], $5::text[],
			$6::bigint[], $7::bigint[], $8::bigint[], $9::bigint[], $10::bigint[], $11::bigint[], $12::bigint[])
		ON CONFLICT (tenant, bucket, class, model, endpoint) DO UPDATE SET
			requests = ` + plus + `u.requests::numeric + excluded.requests))::bigint,
			failures = ` + plus + `u.failures::numeric + excluded.failures))::bigint,
			input_tokens = ` + plus + `u.input_tokens::numeric + excluded.input_tokens))::bigint,
			cached_tokens = ` + plus + `u.cached_tokens::numeric + excluded.cached_tokens))::bigint,
			output_tokens = ` + plus + `u.output_tokens::numeric + excluded.output_tokens))::bigint,
			reasoning_tokens = ` + plus + `u.reasoning_tokens::numeric + excluded.reasoning_tokens))::bigint,
			total_tokens = ` + plus + `u.total_tokens::numeric + excluded.total_tokens))::bigint`)

	usageSince = declare(`SELECT ` + store.UsageColumns + ` FROM usage_15m WHERE tenant = $1 AND bucket >= $2`)
)

// addUsage adds to cells as the transaction ends, in the order of their names, so that instances that
// add to the same ones wait for each other and do not deadlock.
func (t *tx) addUsage(records []batch.UsageRecord) {
	if len(records) == 0 {
		return
	}
	sums := store.BucketRecords(records) // in order
	var names [4][]string
	var counts [7][]int64
	for _, r := range sums {
		for i, v := range []string{r.Tenant, r.Class, r.Model, r.Endpoint} {
			names[i] = append(names[i], v)
		}
		for i, v := range []int64{
			r.Requests, r.Failures, r.Usage.InputTokens, r.Usage.InputTokensDetails.CachedTokens,
			r.Usage.OutputTokens, r.Usage.OutputTokensDetails.ReasoningTokens, r.Usage.TotalTokens,
		} {
			counts[i] = append(counts[i], v)
		}
	}
	args := []any{store.BucketOf(t.now)}
	for i := range names {
		args = append(args, names[i])
	}
	for i := range counts {
		args = append(args, counts[i])
	}
	t.later(addCells, args...)
	t.addKeyUsage(records)
}

// AddUsage adds to the present bucket and day.
func (s *Store) AddUsage(ctx context.Context, records []batch.UsageRecord) error {
	return s.write(ctx, "adding usage", func(t *tx) error {
		t.addUsage(records)
		return nil
	})
}

// Usage sums the buckets from the one that contains since, with a record for each
// class, model and endpoint.
func (s *Store) Usage(ctx context.Context, tenant string, since time.Time) ([]batch.UsageRecord, error) {
	var sums []batch.UsageRecord
	err := s.read(ctx, "summing usage", func(t *tx) error {
		buckets, err := all(ctx, t, store.ScanUsage, usageSince, tenant, store.BucketOf(since))
		sums = store.SumRecords(buckets)
		return err
	})
	return sums, err
}
