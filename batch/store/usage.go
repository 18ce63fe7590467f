package store

import (
	"cmp"
	"maps"
	"math"
	"slices"
	"time"

	"github.com/tidegate/tidegate/batch"
	"github.com/tidegate/tidegate/internal/openai"
)

// UsageBucket is the width of a bucket of usage_15m. Buckets begin at
// multiples of it since the Unix epoch.
const UsageBucket = 15 * time.Minute

// BucketOf returns the start of the bucket of t, in the stored format.
func BucketOf(t time.Time) int64 { return Micros(t.Truncate(UsageBucket)) }

// UsageCell names a cell of a bucket, and of the usage of a key.
type UsageCell struct{ Tenant, Class, Model, Endpoint, KeyID string }

// CellOf returns the cell that r adds to.
func CellOf(r batch.UsageRecord) UsageCell {
	return UsageCell{Tenant: r.Tenant, Class: r.Class, Model: r.Model, Endpoint: r.Endpoint, KeyID: r.KeyID}
}

// AddRecord adds the counts of s to those of r.
func AddRecord(r *batch.UsageRecord, s batch.UsageRecord) {
	r.Requests = Sum(r.Requests, s.Requests)
	r.Failures = Sum(r.Failures, s.Failures)
	AddUsage(&r.Usage, s.Usage)
	r.Cost = AddMoney(r.Cost, s.Cost)
	r.Unpriced = Sum(r.Unpriced, s.Unpriced)
}

// AddMoney adds two amounts and saturates.
func AddMoney(a, b batch.Money) batch.Money { return batch.Money(Sum(int64(a), int64(b))) }

// BucketRecords returns the sums of the cells of a bucket, without keys.
func BucketRecords(records []batch.UsageRecord) []batch.UsageRecord {
	return sumOf(records, func(r *batch.UsageRecord) { r.KeyID = "" })
}

// KeyRecords returns the sums of the cells of the usage of keys, without endpoints.
func KeyRecords(records []batch.UsageRecord) []batch.UsageRecord {
	return sumOf(records, func(r *batch.UsageRecord) { r.Endpoint = "" })
}

// sumOf returns the sums of records from which part removes a name.
func sumOf(records []batch.UsageRecord, part func(*batch.UsageRecord)) []batch.UsageRecord {
	parts := slices.Clone(records)
	for i := range parts {
		part(&parts[i])
	}
	return SumRecords(parts)
}

// SumRecords returns the sum of each cell, the cells ordered by their names.
func SumRecords(records []batch.UsageRecord) []batch.UsageRecord {
	sums := make(map[UsageCell]batch.UsageRecord)
	for _, r := range records {
		sum, known := sums[CellOf(r)]
		if known {
			AddRecord(&sum, r)
		} else {
			sum = r
		}
		sums[CellOf(r)] = sum
	}
	return slices.SortedFunc(maps.Values(sums), func(a, b batch.UsageRecord) int {
		return cmp.Or(cmp.Compare(a.Tenant, b.Tenant), cmp.Compare(a.Class, b.Class), cmp.Compare(a.Model, b.Model), cmp.Compare(a.Endpoint, b.Endpoint), cmp.Compare(a.KeyID, b.KeyID))
	})
}

// AddUsage adds v to u.
func AddUsage(u *openai.Usage, v openai.Usage) {
	u.InputTokens = Sum(u.InputTokens, v.InputTokens)
	u.InputTokensDetails.CachedTokens = Sum(u.InputTokensDetails.CachedTokens, v.InputTokensDetails.CachedTokens)
	u.OutputTokens = Sum(u.OutputTokens, v.OutputTokens)
	u.OutputTokensDetails.ReasoningTokens = Sum(u.OutputTokensDetails.ReasoningTokens, v.OutputTokensDetails.ReasoningTokens)
	u.TotalTokens = Sum(u.TotalTokens, v.TotalTokens)
}

// Sum adds two counts and saturates at the limits of int64. Counts come from
// upstreams: an absurd count may distort statistics, but must not make the database
// refuse a commit.
func Sum(a, b int64) int64 {
	switch {
	case b > 0 && a > math.MaxInt64-b:
		return math.MaxInt64
	case b < 0 && a < math.MinInt64-b:
		return math.MinInt64
	default:
		return a + b
	}
}
