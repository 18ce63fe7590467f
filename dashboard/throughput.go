package dashboard

import (
	"context"
	"net/http"
	"slices"
	"time"

	"github.com/tidegate/tidegate/batch"
	"github.com/tidegate/tidegate/templates"
)

// span is a selectable period.
type span struct {
	name string
	time time.Duration
	step time.Duration // of a column
	unit string        // of a column, in titles
	tick time.Duration // between labels under the axis
	wide time.Duration // between the labels that phones show
}

const day = 24 * time.Hour

var spans = []span{
	{"24h", day, 15 * time.Minute, "15 minutes", 3 * time.Hour, 6 * time.Hour},
	{"7d", 7 * day, time.Hour, "hour", day, 2 * day},
	{"30d", 30 * day, 6 * time.Hour, "6 hours", 5 * day, 10 * day},
}

// query returns the query for the span that ends with the step at now.
func (p span) query(now time.Time, model string) SeriesQuery {
	to := now.UTC().Truncate(p.step).Add(p.step)
	return SeriesQuery{Period: batch.Period{From: to.Add(-p.time), To: to, Step: p.step}, Model: model}
}

func (d *Dashboard) throughput(w http.ResponseWriter, r *http.Request) error {
	s := d.site(r, "Throughput", "Throughput")
	v, err := d.throughputModel(r.Context(), r, s)
	if err != nil {
		return err
	}
	s.Stream = "/events/throughput"
	if r.URL.RawQuery != "" {
		s.Stream += "?" + r.URL.Query().Encode()
	}
	return d.render(w, r, http.StatusOK, templates.ThroughputPage(s, v))
}

func (d *Dashboard) throughputLive(ctx context.Context, r *http.Request, s templates.Site, _ *snapshot) (sections []section, err error) {
	v, err := d.throughputModel(ctx, r, s)
	if err != nil {
		return nil, err
	}
	if err := part(ctx, &sections, "totals", templates.ThroughputTotals(s, v)); err != nil {
		return nil, err
	}
	if err := part(ctx, &sections, "charts", templates.ThroughputCharts(v)); err != nil {
		return nil, err
	}
	return sections, part(ctx, &sections, "models", templates.ThroughputModels(s, v))
}

func (d *Dashboard) throughputModel(ctx context.Context, r *http.Request, s templates.Site) (templates.Throughput, error) {
	query := r.URL.Query()
	chosen := spans[0]
	for _, p := range spans {
		if p.name == query.Get("span") {
			chosen = p
		}
	}
	q := chosen.query(s.Now, query.Get("model"))
	series, err := d.source.Throughput.Series(ctx, q)
	if err != nil {
		return templates.Throughput{}, err
	}
	buckets := fill(q, series.Buckets)
	past := s.Now.Sub(q.From)
	if series.Since.After(q.From) {
		past = max(0, s.Now.Sub(series.Since))
	}
	v := templates.Throughput{
		Span: chosen.name, Unit: chosen.unit, Model: q.Model, From: q.From, To: s.Now,
		Live:  total(s, chosen, past, buckets, func(b Bucket) templates.Work { return b.Live }),
		Batch: total(s, chosen, past, buckets, func(b Bucket) templates.Work { return b.Batch }),
		Both:  total(s, chosen, past, buckets, func(b Bucket) templates.Work { return b.Live.Plus(b.Batch) }),
		Charts: []templates.Chart{
			requestChart(s, chosen, buckets), failureChart(s, chosen, buckets),
			inputChart(s, chosen, buckets), outputChart(s, chosen, buckets),
			uploadChart(s, chosen, buckets), createdChart(s, chosen, buckets),
		},
	}
	for _, p := range spans {
		v.Spans = append(v.Spans, templates.Choice{Name: p.name, URL: s.With(s.To("throughput"), "span", p.name, "model", q.Model)})
	}
	for _, b := range buckets {
		v.Uploads += b.Uploads
		v.UploadBytes += b.UploadBytes
		v.Created += b.Batches
	}
	var all int64
	for _, m := range series.Models {
		both := m.Live.Plus(m.Batch)
		all += both.InputTokens + both.OutputTokens
	}
	for _, m := range series.Models {
		both := m.Live.Plus(m.Batch)
		v.Models = append(v.Models, templates.ModelRow{
			Model: m.Model, URL: s.With(s.To("throughput"), "span", chosen.name, "model", m.Model),
			Live: m.Live, Batch: m.Batch, Share: templates.Share(both.InputTokens+both.OutputTokens, all),
		})
	}
	return v, nil
}

// fill returns a bucket for every step; steps without work are empty.
func fill(q SeriesQuery, buckets []Bucket) []Bucket {
	all := make([]Bucket, 0, q.To.Sub(q.From)/q.Step)
	for at := q.From; at.Before(q.To); at = at.Add(q.Step) {
		i := slices.IndexFunc(buckets, func(b Bucket) bool { return b.Start.Equal(at) })
		if i < 0 {
			all = append(all, Bucket{Start: at})
			continue
		}
		all = append(all, buckets[i])
		buckets = buckets[i+1:]
	}
	return all
}

// total sums the buckets and finds the peaks. Averages are over past, the elapsed
// time.
func total(s templates.Site, p span, past time.Duration, buckets []Bucket, of func(Bucket) templates.Work) templates.Total {
	var sum templates.Work
	var t templates.Total
	for _, b := range buckets {
		w := of(b)
		sum = sum.Plus(w)
		at := stepName(s, p.step, b.Start)
		t.PeakRequests.Raise(w.Requests, at)
		t.PeakInput.Raise(w.InputTokens, at)
		t.PeakOutput.Raise(w.OutputTokens, at)
	}
	t.Work = sum
	t.Seconds = past.Seconds()
	return t
}

// stepName returns the name of a step in the reader's zone. Times that occur twice on
// a day get a distinguishing suffix.
func stepName(s templates.Site, step time.Duration, start time.Time) string {
	from, to := start.In(s.Zone), start.Add(step).In(s.Zone)
	begins, ends := "Mon Jan 2 15:04", "15:04"
	if from.YearDay() != to.YearDay() && (to.Hour() != 0 || to.Minute() != 0) {
		ends = "Jan 2 15:04"
	}
	if twice(from) {
		begins += " MST"
	}
	if twice(to) {
		ends += " MST"
	}
	return from.Format(begins) + "–" + to.Format(ends)
}

// columns returns a column for every bucket.
func columns(s templates.Site, p span, buckets []Bucket, values func(Bucket) []float64) []templates.Column {
	all := make([]templates.Column, 0, len(buckets))
	var last time.Time
	for i, b := range buckets {
		c := templates.Column{Name: stepName(s, p.step, b.Start), Values: values(b)}
		c.Tick, c.Major = tickAt(p, last, b.Start.In(s.Zone), i == 0)
		last = b.Start.In(s.Zone)
		all = append(all, c)
	}
	return all
}

// tickAt labels the first step of every tick, in the reader's zone.
func tickAt(p span, before, at time.Time, first bool) (label string, major bool) {
	if first {
		return "", false
	}
	number := func(t time.Time, every time.Duration) int64 {
		_, offset := t.Zone()
		return (t.Unix() + int64(offset)) / int64(every/time.Second)
	}
	if number(before, p.tick) == number(at, p.tick) {
		return "", false
	}
	label = at.Format("15:04")
	if p.tick >= day {
		label = at.Format("Jan 2")
	}
	return label, number(before, p.wide) != number(at, p.wide)
}

var classes = []templates.Series{{Name: "live", Tone: "live"}, {Name: "batch", Tone: "batch"}}

func byClass(s templates.Site, p span, id, title string, buckets []Bucket, value func(templates.Work) int64) templates.Chart {
	return templates.Chart{
		ID: id, Title: title + " per " + p.unit, Series: classes, Apart: true,
		Columns: columns(s, p, buckets, func(b Bucket) []float64 {
			return []float64{float64(value(b.Live)), float64(value(b.Batch))}
		}),
	}
}

func requestChart(s templates.Site, p span, buckets []Bucket) templates.Chart {
	return byClass(s, p, "requests", "Requests", buckets, func(w templates.Work) int64 { return w.Requests })
}

func failureChart(s templates.Site, p span, buckets []Bucket) templates.Chart {
	return byClass(s, p, "failures", "Failed requests", buckets, func(w templates.Work) int64 { return w.Failures })
}

func inputChart(s templates.Site, p span, buckets []Bucket) templates.Chart {
	return byClass(s, p, "input", "Tokens in", buckets, func(w templates.Work) int64 { return w.InputTokens })
}

func outputChart(s templates.Site, p span, buckets []Bucket) templates.Chart {
	return byClass(s, p, "output", "Tokens out", buckets, func(w templates.Work) int64 { return w.OutputTokens })
}

func uploadChart(s templates.Site, p span, buckets []Bucket) templates.Chart {
	return templates.Chart{
		ID: "uploads", Title: "Uploads per " + p.unit, Series: []templates.Series{{Name: "files", Tone: "plain"}}, Apart: true,
		Columns: columns(s, p, buckets, func(b Bucket) []float64 { return []float64{float64(b.Uploads)} }),
	}
}

func createdChart(s templates.Site, p span, buckets []Bucket) templates.Chart {
	return templates.Chart{
		ID: "created", Title: "Batches created per " + p.unit, Series: []templates.Series{{Name: "batches", Tone: "plain"}}, Apart: true,
		Columns: columns(s, p, buckets, func(b Bucket) []float64 { return []float64{float64(b.Batches)} }),
	}
}
