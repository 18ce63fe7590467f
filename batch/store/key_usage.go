package store

import (
	"math"
	"math/bits"
	"time"

	"github.com/tidegate/tidegate/batch"
	"github.com/tidegate/tidegate/internal/saturate"
)

// KeyUsageColumns are the columns of key_usage, in the order in which ScanKeyUsage scans
// them.
const KeyUsageColumns = `tenant, key_id, class, model, requests, failures, unpriced, estimated, input_tokens, cached_tokens, output_tokens, cost`

// ScanKeyUsage scans KeyUsageColumns.
func ScanKeyUsage(r Row) (u batch.UsageRecord, err error) {
	err = r.Scan(&u.Tenant, &u.KeyID, &u.Class, &u.Model, &u.Requests, &u.Failures, &u.Unpriced, &u.Estimated,
		&u.Usage.InputTokens, &u.Usage.InputTokensDetails.CachedTokens, &u.Usage.OutputTokens, &u.Cost)
	return u, err
}

// KeyUsageCounts returns the counts of KeyUsageColumns.
func KeyUsageCounts(r batch.UsageRecord) [8]int64 {
	return [...]int64{
		r.Requests, r.Failures, r.Unpriced, r.Estimated,
		r.Usage.InputTokens, r.Usage.InputTokensDetails.CachedTokens, r.Usage.OutputTokens, int64(r.Cost),
	}
}

// DayOf returns the start of the day of t, UTC, in the stored format.
func DayOf(t time.Time) int64 { return Micros(t.Truncate(Day)) }

// UsageDays returns the bounds of a query in the stored format.
func UsageDays(q batch.UsageQuery) (from, to int64) {
	return DayOf(q.From), DayOf(q.To.Add(Day - time.Nanosecond))
}

// UsageLimit returns the limit of the rows of a query.
func UsageLimit(q batch.UsageQuery) int { return min(LimitOf(q.Limit), batch.MaxUsageRows) }

// usageNames are the names of a group.
func usageNames(r *batch.UsageRow) []any {
	return []any{timeIn{&r.Day}, &r.Tenant, &r.KeyID, &r.Class, &r.Model}
}

// usageCounts are the counts of a row, in the order of KeyUsageColumns.
func usageCounts(r *batch.UsageRow) [8]*int64 {
	return [...]*int64{&r.Requests, &r.Failures, &r.Unpriced, &r.Estimated, &r.InputTokens, &r.CachedTokens, &r.OutputTokens, (*int64)(&r.Cost)}
}

// ScanUsageRow scans day, tenant, key, class and model, and the sums of the counts.
func ScanUsageRow(r Row) (u batch.UsageRow, err error) {
	to := usageNames(&u)
	for _, n := range usageCounts(&u) {
		to = append(to, n)
	}
	if err := r.Scan(to...); err != nil {
		return u, err
	}
	return grouped(u), nil
}

// ScanUsageHalves is ScanUsageRow for sums in two parts: of the counts divided by 2³²,
// rounded down, and of the remainders. So a database whose integers overflow sums exactly.
func ScanUsageHalves(r Row) (u batch.UsageRow, err error) {
	var halves [16]int64
	to := usageNames(&u)
	for i := range halves {
		to = append(to, &halves[i])
	}
	if err := r.Scan(to...); err != nil {
		return u, err
	}
	for i, n := range usageCounts(&u) {
		*n = joined(halves[2*i], halves[2*i+1])
	}
	return grouped(u), nil
}

// joined returns high * 2³² + low, and saturates.
func joined(high, low int64) int64 {
	const half = 1 << 32
	switch magnitude, small := bits.Mul64(uint64(max(high, -high)), half); {
	case magnitude == 0 && small <= math.MaxInt64:
		return saturate.Add(high*half, low)
	case high > 0:
		return math.MaxInt64
	default:
		return math.MinInt64
	}
}

// grouped returns a row whose day is the zero time if it is not grouped by day.
func grouped(u batch.UsageRow) batch.UsageRow {
	if u.Day.UnixMicro() == 0 {
		u.Day = time.Time{}
	}
	return u
}

// UsageReportOf makes a report of up to limit rows from the rows and the sum of all.
func UsageReportOf(rows, total []batch.UsageRow, limit int) (r batch.UsageReport) {
	r.Rows, r.More = Cut(rows, limit)
	if len(total) > 0 {
		r.Total = total[0]
	}
	return r
}
