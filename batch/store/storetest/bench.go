package storetest

import (
	"testing"
	"time"

	"github.com/tidegate/tidegate/batch"
)

// BenchTenant is the tenant in the queries of BenchReports.
const BenchTenant = "acme"

// BenchReports measures the queries of reports on a store with 100,000 batches of
// BenchTenant and a year of usage. A fiftieth of the batches has not ended; no
// metadata contains "needle".
func BenchReports(b *testing.B, s batch.Store) {
	now, err := s.Now(b.Context())
	if err != nil {
		b.Fatal(err)
	}
	back := func(d, step time.Duration) batch.Period {
		return batch.Period{From: now.Add(-d), To: now.Add(time.Hour), Step: step}
	}
	const day = 24 * time.Hour
	deep, err := s.FindBatches(b.Context(), BenchTenant, batch.BatchFilter{To: now.Add(-200 * day), Limit: 1})
	if err != nil {
		b.Fatal(err)
	}
	find := func(f batch.BatchFilter) func() error {
		if f.Limit == 0 {
			f.Limit = 50
		}
		return func() error { _, err := s.FindBatches(b.Context(), BenchTenant, f); return err }
	}
	series := func(p batch.Period) func() error {
		return func() error { _, err := s.UsageSeries(b.Context(), BenchTenant, "", p); return err }
	}
	for _, q := range []struct {
		name string
		do   func() error
	}{
		{"usage, 24 h", series(back(day, 0))},
		{"usage, 30 days", series(back(30*day, time.Hour))},
		{"usage, a year", series(back(365*day, day))},
		{"models, 30 days", func() error { _, err := s.UsageByModel(b.Context(), BenchTenant, back(30*day, 0)); return err }},
		{"events, 30 days", func() error { _, err := s.Events(b.Context(), BenchTenant, back(30*day, time.Hour)); return err }},
		{"states", func() error { _, err := s.BatchStates(b.Context(), BenchTenant); return err }},
		{"waiting", func() error { _, err := s.Waiting(b.Context(), BenchTenant); return err }},
		{"storage", func() error { _, err := s.Storage(b.Context(), BenchTenant); return err }},
		{"batches", find(batch.BatchFilter{})},
		{"batches, deep", find(batch.BatchFilter{After: deep.After})},
		{"batches, state", find(batch.BatchFilter{Status: batch.InProgress})},
		{"batches, model", find(batch.BatchFilter{Model: "model-1"})},
		{"batches, state and model", find(batch.BatchFilter{Status: batch.InProgress, Model: "model-1"})},
		{"batches, time", find(batch.BatchFilter{From: now.Add(-300 * day), To: now.Add(-299 * day)})},
		{"batches, text that many have", find(batch.BatchFilter{Text: "job"})},
		{"batches, text that none has", find(batch.BatchFilter{Text: "needle"})},
		{"batches, a day's 1000", find(batch.BatchFilter{From: now.Add(-day), Limit: 1000})},
	} {
		b.Run(q.name, func(b *testing.B) {
			for b.Loop() {
				if err := q.do(); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
