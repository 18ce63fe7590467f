package store

import (
	"cmp"
	"maps"
	"slices"
	"time"

	"github.com/tidegate/tidegate/batch"
)

// UsageBucket is the width of a bucket of usage_15m. Buckets begin at
// multiples of it since the Unix epoch.
const UsageBucket = 15 * time.Minute

// BucketOf returns the start of the bucket of t, in the stored format.
func BucketOf(t time.Time) int64 { return Micros(t.Truncate(UsageBucket)) }

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
	sums := make(map[batch.UsageCell]batch.UsageRecord)
	for _, r := range records {
		sum, known := sums[r.Cell()]
		if known {
			sum.Add(r)
		} else {
			sum = r
		}
		sums[r.Cell()] = sum
	}
	return slices.SortedFunc(maps.Values(sums), func(a, b batch.UsageRecord) int {
		return cmp.Or(cmp.Compare(a.Tenant, b.Tenant), cmp.Compare(a.Class, b.Class), cmp.Compare(a.Model, b.Model), cmp.Compare(a.Endpoint, b.Endpoint), cmp.Compare(a.KeyID, b.KeyID))
	})
}
