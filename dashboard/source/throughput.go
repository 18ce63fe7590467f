package source

import (
	"cmp"
	"context"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/tidegate/tidegate/batch"
	"github.com/tidegate/tidegate/dashboard"
	"github.com/tidegate/tidegate/upstreams"
)

type throughput struct{ *source }

// mostModels limits the number of listed models.
const mostModels = 50

// Series returns the counts of a period.
func (t throughput) Series(ctx context.Context, q dashboard.SeriesQuery) (dashboard.Series, error) {
	p := q.Period
	var (
		points []batch.UsagePoint
		events []batch.EventPoint
		models []batch.UsageRecord
		since  time.Time
	)
	reads, ctx := errgroup.WithContext(ctx) // concurrently, as each may take long
	reads.Go(func() (err error) {
		points, err = t.analytics().UsageSeries(ctx, t.Tenant, q.Model, p)
		return err
	})
	reads.Go(func() (err error) {
		events, err = t.analytics().Events(ctx, t.Tenant, p)
		return err
	})
	reads.Go(func() (err error) {
		models, err = t.analytics().UsageByModel(ctx, t.Tenant, p)
		return err
	})
	reads.Go(func() (err error) {
		since, err = t.since(ctx, p)
		return err
	})
	if err := reads.Wait(); err != nil {
		return dashboard.Series{}, err
	}
	buckets := make(map[int64]*dashboard.Bucket)
	at := func(when time.Time) *dashboard.Bucket {
		b := buckets[when.Unix()]
		if b == nil {
			b = &dashboard.Bucket{Start: when}
			buckets[when.Unix()] = b
		}
		return b
	}
	for _, u := range points {
		if u.Class == upstreams.Live.String() {
			at(u.At).Live = workOf(u)
		} else {
			at(u.At).Batch = workOf(u)
		}
	}
	for _, e := range events {
		switch e.Kind {
		case batch.EventUpload:
			at(e.At).Uploads, at(e.At).UploadBytes = e.Events, e.Amount
		case batch.EventBatchCreated:
			at(e.At).Batches = e.Events
		}
	}
	s := dashboard.Series{Since: since, Models: byModel(models)}
	for _, b := range buckets {
		s.Buckets = append(s.Buckets, *b)
	}
	slices.SortFunc(s.Buckets, func(a, b dashboard.Bucket) int { return a.Start.Compare(b.Start) })
	return s, nil
}

// since returns the start of the period for averages: its beginning, or the earlier
// of the gateway's start and the first work in it.
func (t throughput) since(ctx context.Context, p batch.Period) (time.Time, error) {
	if !t.Started.After(p.From) {
		return p.From, nil
	}
	points, err := t.analytics().UsageSeries(ctx, t.Tenant, "", p)
	if err != nil {
		return time.Time{}, err
	}
	return firstWork(t.Started, p, points), nil
}

// firstWork returns the earlier of the gateway's start and the first work in a
// period. Work in the step of the start counts as done after it.
func firstWork(started time.Time, p batch.Period, points []batch.UsagePoint) time.Time {
	first := started
	for _, u := range points {
		if u.At.Add(p.Step).After(started) || !u.At.Before(first) {
			continue
		}
		first = u.At
	}
	return first
}

// byModel sums the classes of each model, and sorts models by tokens in descending
// order.
func byModel(records []batch.UsageRecord) []dashboard.ModelWork {
	works := make(map[string]*dashboard.ModelWork)
	var all []*dashboard.ModelWork
	for _, r := range records {
		m := works[r.Model]
		if m == nil {
			m = &dashboard.ModelWork{Model: r.Model}
			works[r.Model] = m
			all = append(all, m)
		}
		w := workOf(batch.UsagePoint{Requests: r.Requests, Failures: r.Failures, Usage: r.Usage})
		if r.Class == upstreams.Live.String() {
			m.Live = m.Live.Plus(w)
		} else {
			m.Batch = m.Batch.Plus(w)
		}
	}
	tokens := func(m *dashboard.ModelWork) int64 {
		return m.Live.InputTokens + m.Live.OutputTokens + m.Batch.InputTokens + m.Batch.OutputTokens
	}
	slices.SortFunc(all, func(a, b *dashboard.ModelWork) int {
		return cmp.Or(cmp.Compare(tokens(b), tokens(a)), cmp.Compare(a.Model, b.Model))
	})
	all = all[:min(len(all), mostModels)]
	list := make([]dashboard.ModelWork, len(all))
	for i, m := range all {
		list[i] = *m
	}
	return list
}
