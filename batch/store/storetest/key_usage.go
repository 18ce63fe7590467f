package storetest

import (
	"math"
	"sync"
	"time"

	"github.com/tidegate/tidegate/batch"
)

const day = 24 * time.Hour

// keyed is a record of n requests with a key.
func keyed(key, model string, n int64) batch.UsageRecord {
	r := live(n)
	r.KeyID, r.Model = key, model
	r.Cost, r.Unpriced, r.Estimated = batch.Money(1000*n), n%2, 2*n
	return r
}

// row is the row of records, without names.
func row(records ...batch.UsageRecord) (u batch.UsageRow) {
	for _, r := range records {
		u.Add(&batch.UsageRow{
			Requests: r.Requests, Failures: r.Failures, Unpriced: r.Unpriced, Estimated: r.Estimated, Cost: r.Cost,
			InputTokens: r.Usage.InputTokens, CachedTokens: r.Usage.InputTokensDetails.CachedTokens, OutputTokens: r.Usage.OutputTokens,
		})
	}
	return u
}

// toDay moves the clock to the beginning of a day.
func (e *env) toDay() time.Time {
	e.Helper()
	now := e.now()
	e.db.Advance(now.Truncate(day).Add(day).Sub(now))
	return e.now().Truncate(day)
}

// keyUsage returns the usage of keys from a year ago on.
func (e *env) keyUsage(tenant string, q batch.UsageQuery) batch.UsageReport {
	e.Helper()
	if q.To.IsZero() {
		q.To = e.now().Add(day)
	}
	if q.From.IsZero() {
		q.From = q.To.Add(-365 * day)
	}
	if q.Limit == 0 {
		q.Limit = 100
	}
	report, err := e.s.KeyUsage(e.Context(), tenant, q)
	e.ok(err)
	return report
}

// ofGroup sets the names of a row.
func ofGroup(u, names batch.UsageRow) batch.UsageRow {
	u.Day, u.Tenant, u.KeyID, u.Model, u.Class = names.Day, names.Tenant, names.KeyID, names.Model, names.Class
	return u
}

var keyUsageTests = []test{
	{"usage of keys is summed by every group", func(e *env) {
		first := e.toDay()
		a, b, c := keyed("a", "m", 1), keyed("a", "n", 10), keyed("b", "m", 100)
		other := a
		other.Endpoint = "/v1/embeddings"
		e.add(a, b, c)
		e.add(other) // to the row of a
		second := e.toDay()
		d := keyed("", "m", 1000)
		d.Class = "batch"
		e.add(d)
		e.reopen()
		all := row(a, b, c, other, d)
		for _, group := range []struct {
			by   batch.UsageGroup
			want []batch.UsageRow
		}{
			{batch.UsageGroup{}, []batch.UsageRow{all}},
			{batch.UsageGroup{Day: true}, []batch.UsageRow{
				ofGroup(row(d), batch.UsageRow{Day: second}), ofGroup(row(a, b, c, other), batch.UsageRow{Day: first}),
			}},
			{batch.UsageGroup{Key: true}, []batch.UsageRow{
				row(d), ofGroup(row(a, b, other), batch.UsageRow{KeyID: "a"}), ofGroup(row(c), batch.UsageRow{KeyID: "b"}),
			}},
			{batch.UsageGroup{Model: true}, []batch.UsageRow{
				ofGroup(row(a, c, other, d), batch.UsageRow{Model: "m"}), ofGroup(row(b), batch.UsageRow{Model: "n"}),
			}},
			{batch.UsageGroup{Class: true}, []batch.UsageRow{
				ofGroup(row(d), batch.UsageRow{Class: "batch"}), ofGroup(row(a, b, c, other), batch.UsageRow{Class: "live"}),
			}},
			{batch.UsageGroup{Day: true, Tenant: true, Key: true, Model: true, Class: true}, []batch.UsageRow{
				ofGroup(row(d), batch.UsageRow{Day: second, Tenant: tenant, Model: "m", Class: "batch"}),
				ofGroup(row(a, other), batch.UsageRow{Day: first, Tenant: tenant, KeyID: "a", Model: "m", Class: "live"}),
				ofGroup(row(b), batch.UsageRow{Day: first, Tenant: tenant, KeyID: "a", Model: "n", Class: "live"}),
				ofGroup(row(c), batch.UsageRow{Day: first, Tenant: tenant, KeyID: "b", Model: "m", Class: "live"}),
			}},
		} {
			got := e.keyUsage(tenant, batch.UsageQuery{By: group.by})
			equal(e, "rows", got.Rows, group.want)
			equal(e, "total", got.Total, all)
			equal(e, "more", got.More, false)
		}
	}},
	{"usage of keys is selected by day, key, model and class", func(e *env) {
		first := e.toDay()
		a, b := keyed("a", "m", 1), keyed("b", "n", 10)
		e.add(a, b)
		second := e.toDay()
		c := keyed("a", "n", 100)
		c.Class = "batch"
		e.add(c)
		for _, q := range []struct {
			query batch.UsageQuery
			want  batch.UsageRow
		}{
			{batch.UsageQuery{From: first, To: second}, row(a, b)},
			{batch.UsageQuery{From: first.Add(23 * time.Hour), To: second.Add(time.Second)}, row(a, b, c)},
			{batch.UsageQuery{From: second, To: second.Add(day)}, row(c)},
			{batch.UsageQuery{KeyID: "a"}, row(a, c)},
			{batch.UsageQuery{Model: "n"}, row(b, c)},
			{batch.UsageQuery{Class: "batch"}, row(c)},
			{batch.UsageQuery{KeyID: "a", Model: "n", Class: "live"}, batch.UsageRow{}},
		} {
			equal(e, "total", e.keyUsage(tenant, q.query).Total, q.want)
		}
	}},
	{"a short report has the total of all rows", func(e *env) {
		e.add(keyed("a", "m", 1), keyed("b", "m", 10), keyed("c", "m", 100))
		got := e.keyUsage(tenant, batch.UsageQuery{By: batch.UsageGroup{Key: true}, Limit: 2})
		equal(e, "rows", len(got.Rows), 2)
		equal(e, "more", got.More, true)
		equal(e, "requests", got.Total.Requests, int64(111))
		got = e.keyUsage(tenant, batch.UsageQuery{By: batch.UsageGroup{Key: true}, Limit: 3})
		equal(e, "more", got.More, false)
	}},
	{"usage of keys is a tenant's own, and of all for administrators", func(e *env) {
		theirs := keyed("a", "m", 10)
		theirs.Tenant = rival
		e.add(keyed("a", "m", 1), theirs)
		equal(e, "own", e.keyUsage(tenant, batch.UsageQuery{}).Total.Requests, int64(1))
		equal(e, "theirs", e.keyUsage(rival, batch.UsageQuery{}).Total.Requests, int64(10))
		equal(e, "without a tenant", e.keyUsage("", batch.UsageQuery{}), batch.UsageReport{})
		equal(e, "all", e.keyUsage(batch.AllTenants, batch.UsageQuery{}).Total.Requests, int64(11))
		rows := e.keyUsage(batch.AllTenants, batch.UsageQuery{By: batch.UsageGroup{Tenant: true}}).Rows
		equal(e, "tenants", len(rows), 2)
	}},
	{"absurd usage of a key does no harm", func(e *env) {
		r := keyed("a", "m", 1)
		r.Cost, r.Usage.InputTokens = math.MaxInt64, math.MaxInt64
		e.add(r, r)
		other := r
		other.KeyID = "b"
		e.add(other)
		got := e.keyUsage(tenant, batch.UsageQuery{}).Total
		equal(e, "cost", got.Cost, batch.Money(math.MaxInt64))
		equal(e, "input tokens", got.InputTokens, int64(math.MaxInt64))
		equal(e, "output tokens", got.OutputTokens, int64(15))
	}},
	{"large amounts are summed exactly", func(e *env) {
		want := batch.Money(0)
		for i, key := range []string{"a", "b", "c"} {
			r := keyed(key, "m", 1)
			r.Cost = 1<<60 + batch.Money(i)*(1<<32+1) + 7
			want += r.Cost
			e.add(r)
		}
		equal(e, "cost", e.keyUsage(tenant, batch.UsageQuery{}).Total.Cost, want)
	}},
	{"a commit adds the cost of a line once", func(e *env) {
		b := e.start(e.batch(func(n *batch.NewBatch) { n.KeyID = "key_a" }), 4)
		c := e.claim(b, 0)
		w := write(c, 0, 1, 2)
		w.Lines[0].Charge = batch.Charge{Cost: 5}
		w.Lines[1].Charge = batch.Charge{Cost: 7}
		w.Lines[2].Charge = batch.Charge{Unpriced: true}
		for range 2 { // the second is a repetition
			stale, err := e.s.CommitResults(e.Context(), []batch.SegmentWrite{w})
			e.ok(err)
			equal(e, "stale claims", stale, nil)
		}
		e.reopen()
		got := e.get(b)
		equal(e, "cost", got.Cost, batch.Money(12))
		equal(e, "unpriced lines", got.Unpriced, int64(1))
		rows := e.keyUsage(tenant, batch.UsageQuery{By: batch.UsageGroup{Key: true, Class: true}}).Rows
		equal(e, "rows", len(rows), 1)
		want := batch.UsageRow{
			KeyID: "key_a", Class: "batch", Requests: 3, Unpriced: 1, InputTokens: got.Usage.InputTokens,
			CachedTokens: got.Usage.InputTokensDetails.CachedTokens, OutputTokens: got.Usage.OutputTokens, Cost: 12,
		}
		equal(e, "usage of the key", rows[0], want)
	}},
	{"a refused commit costs nothing", func(e *env) {
		b := e.running(4)
		c := e.claim(b, 0)
		e.cancel(b)
		w := write(c, 0)
		w.Lines[0].Charge = batch.Charge{Cost: 5}
		stale, err := e.s.CommitResults(e.Context(), []batch.SegmentWrite{w})
		e.ok(err)
		equal(e, "stale claims", len(stale), 1)
		equal(e, "usage", e.keyUsage(tenant, batch.UsageQuery{}), batch.UsageReport{})
	}},
	{"concurrent additions to a key add up", func(e *env) {
		var (
			wg   sync.WaitGroup
			errs [8]error
		)
		for w := range errs {
			wg.Go(func() {
				for range 10 {
					records := []batch.UsageRecord{keyed("b", "m", 1), keyed("a", "m", 1)}
					if err := e.s.AddUsage(e.Context(), records); err != nil {
						errs[w] = err
						return
					}
				}
			})
		}
		wg.Wait()
		for _, err := range errs {
			e.ok(err)
		}
		for _, r := range e.keyUsage(tenant, batch.UsageQuery{By: batch.UsageGroup{Key: true}}).Rows {
			equal(e, "cost of "+r.KeyID, r.Cost, batch.Money(80_000))
		}
	}},
	{"usage of keys is kept for 13 months", func(e *env) {
		e.toDay()
		e.add(keyed("a", "m", 1))
		e.db.Advance(batch.UsageTTL - time.Hour)
		_, err := e.s.PruneHistory(e.Context(), 100)
		e.ok(err)
		q := batch.UsageQuery{From: e.now().Add(-2 * batch.UsageTTL)}
		equal(e, "requests", e.keyUsage(tenant, q).Total.Requests, int64(1))
		e.db.Advance(2 * time.Hour)
		n, err := e.s.PruneHistory(e.Context(), 100)
		e.ok(err)
		equal(e, "pruned", n, 1)
		equal(e, "usage", e.keyUsage(tenant, q), batch.UsageReport{})
	}},
}
