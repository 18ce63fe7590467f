package storetest

import (
	"cmp"
	"math"
	"sync"
	"time"

	"github.com/tidegate/tidegate/batch"
	"github.com/tidegate/tidegate/internal/openai"
)

const bucket = 15 * time.Minute

func compareUsage(a, b batch.UsageRecord) int {
	return cmp.Or(cmp.Compare(a.Class, b.Class), cmp.Compare(a.Model, b.Model), cmp.Compare(a.Endpoint, b.Endpoint))
}

// live is a record of n requests.
func live(n int64) batch.UsageRecord {
	r := batch.UsageRecord{
		Tenant: tenant, Class: "live", Model: "m", Endpoint: "/v1/completions", Requests: n, Failures: n / 2,
		Usage: openai.Usage{InputTokens: 3 * n, OutputTokens: 5 * n, TotalTokens: 8 * n},
	}
	r.Usage.InputTokensDetails.CachedTokens = 2 * n
	r.Usage.OutputTokensDetails.ReasoningTokens = 4 * n
	return r
}

// add adds usage.
func (e *env) add(records ...batch.UsageRecord) {
	e.Helper()
	e.ok(e.s.AddUsage(e.Context(), records))
}

// toBucket moves the clock to the beginning of a bucket, as good as.
func (e *env) toBucket() {
	e.Helper()
	now := e.now()
	e.db.Advance(now.Truncate(bucket).Add(bucket).Sub(now))
}

var usageTests = []test{
	{"usage adds up", func(e *env) {
		e.add(live(1), live(10))
		e.add(live(100))
		e.add()
		want := live(111)
		want.Failures = 55
		equal(e, "usage", e.usage(tenant), []batch.UsageRecord{want})
	}},
	{"each cell counts by itself", func(e *env) {
		records := []batch.UsageRecord{live(1), live(2), live(3), live(4)}
		records[1].Class = "batch"
		records[2].Model = "n"
		records[3].Endpoint = "/v1/embeddings"
		e.add(records...)
		e.add(records...)
		want := []batch.UsageRecord{live(2), live(4), live(6), live(8)}
		want[1].Class, want[1].Failures = "batch", 2
		want[2].Model, want[2].Failures = "n", 2
		want[3].Endpoint, want[3].Failures = "/v1/embeddings", 4
		want[0].Failures = 0
		equal(e, "usage", e.usage(tenant), []batch.UsageRecord{want[1], want[0], want[3], want[2]})
	}},
	{"usage is summed from the bucket of a time on", func(e *env) {
		e.toBucket()
		e.add(live(1))
		e.db.Advance(bucket)
		second := e.now()
		e.add(live(10))
		e.db.Advance(bucket)
		third := e.now().Truncate(bucket)
		e.add(live(100))
		for since, want := range map[time.Time]int64{
			second.Add(-time.Hour):      111,
			second.Truncate(bucket):     110,
			second.Add(5 * time.Minute): 110,
			third:                       100,
			third.Add(bucket):           0,
			{}:                          111,
		} {
			got, err := e.s.Usage(e.Context(), tenant, since)
			e.ok(err)
			var requests int64
			for _, r := range got {
				requests += r.Requests
			}
			equal(e, "requests since "+since.String(), requests, want)
		}
	}},
	{"absurd usage does no harm", func(e *env) {
		r := live(1)
		r.Requests, r.Usage.InputTokens = math.MaxInt64, math.MaxInt64
		e.add(r, r)
		e.db.Advance(bucket)
		e.add(r)
		got := e.usage(tenant)
		equal(e, "cells", len(got), 1)
		equal(e, "requests", got[0].Requests, int64(math.MaxInt64))
		equal(e, "output tokens", got[0].Usage.OutputTokens, int64(15))
	}},
	{"concurrent additions add up", func(e *env) {
		var (
			wg   sync.WaitGroup
			errs [8]error
		)
		for w := range errs {
			wg.Go(func() {
				for range 20 {
					if err := e.s.AddUsage(e.Context(), []batch.UsageRecord{live(1)}); err != nil {
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
		equal(e, "requests", e.usage(tenant)[0].Requests, int64(160))
	}},
}
