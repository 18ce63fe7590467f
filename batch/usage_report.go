package batch

import (
	"time"

	"github.com/tidegate/tidegate/internal/saturate"
)

// UsageTTL is the time after which the usage of keys is deleted: 13 months.
const UsageTTL = 400 * 24 * time.Hour

// MaxUsageRows limits the rows of a UsageReport.
const MaxUsageRows = 10_000

// UsageQuery asks for the usage of keys.
type UsageQuery struct {
	// From and To are days, UTC: From is rounded down to a day, and To, which is
	// exclusive, up to one.
	From, To time.Time
	// KeyID, Model and Class select usage; "": any.
	KeyID, Model, Class string
	By                  UsageGroup
	Limit               int // of rows; at most MaxUsageRows
}

// UsageGroup selects the columns by which usage is grouped.
type UsageGroup struct{ Day, Tenant, Key, Model, Class bool }

// UsageRow is the usage of a group. The columns by which it is not grouped are empty.
type UsageRow struct {
	Day                         time.Time // when it begins, UTC
	Tenant, KeyID, Model, Class string
	BatchID                     string // of the usage of a batch; Day is that of its creation
	Requests, Failures          int64
	// Unpriced counts the requests of unknown cost: they used tokens of a model without a
	// price, or the answer did not report tokens. They cost nothing.
	Unpriced int64
	// Estimated counts the requests whose tokens are estimated, because the answer was not
	// complete or did not report them.
	Estimated                               int64
	InputTokens, CachedTokens, OutputTokens int64
	Cost                                    Money
}

// TotalTokens returns the sum of input and output tokens.
func (r *UsageRow) TotalTokens() int64 { return r.InputTokens + r.OutputTokens }

// UsageReport is the answer to a UsageQuery.
type UsageReport struct {
	Rows  []UsageRow // by day, the newest first, then by tenant, key, model and class
	Total UsageRow   // of all rows, also of those beyond Limit
	More  bool       // there are more than Limit rows
}

// Add adds the counts of another row. They saturate.
func (r *UsageRow) Add(o *UsageRow) {
	r.Requests = saturate.Add(r.Requests, o.Requests)
	r.Failures = saturate.Add(r.Failures, o.Failures)
	r.Unpriced = saturate.Add(r.Unpriced, o.Unpriced)
	r.Estimated = saturate.Add(r.Estimated, o.Estimated)
	r.InputTokens = saturate.Add(r.InputTokens, o.InputTokens)
	r.CachedTokens = saturate.Add(r.CachedTokens, o.CachedTokens)
	r.OutputTokens = saturate.Add(r.OutputTokens, o.OutputTokens)
	r.Cost = r.Cost.Plus(o.Cost)
}
