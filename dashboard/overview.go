package dashboard

import (
	"context"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/tidegate/tidegate/templates"
	"github.com/tidegate/tidegate/upstreams"
)

// overviewRows limits the active batches on the overview.
const overviewRows = 12

func (d *Dashboard) overview(w http.ResponseWriter, r *http.Request) error {
	s := d.site(r, "Overview", "Overview")
	s.Stream = "/events/"
	snap := d.current(r)
	d.logReading(r, snap)
	v := d.overviewModel(s, snap)
	var err error
	if v.Charts, err = d.dayCharts(r.Context(), s); err != nil {
		// The rest is useful even if the store is not available.
		d.logTrouble(r, err)
	}
	return d.render(w, r, http.StatusOK, templates.OverviewPage(s, v))
}

func (d *Dashboard) overviewLive(ctx context.Context, r *http.Request, s templates.Site, snap *snapshot) (sections []section, err error) {
	d.logReading(r, snap)
	v := d.overviewModel(s, snap)
	if err := part(ctx, &sections, "problems", templates.OverviewProblems(s, v)); err != nil || snap.err != nil {
		return sections, err // earlier values are kept, below the problem
	}
	if err := part(ctx, &sections, "now", templates.OverviewNow(s, v)); err != nil {
		return nil, err
	}
	if err := part(ctx, &sections, "queue", templates.OverviewQueue(s, v)); err != nil {
		return nil, err
	}
	if err := part(ctx, &sections, "upstreams", templates.OverviewUpstreams(s, v)); err != nil {
		return nil, err
	}
	if err := part(ctx, &sections, "gateways", templates.OverviewGateways(s, v)); err != nil {
		return nil, err
	}
	if err := part(ctx, &sections, "active", templates.OverviewBatches(s, v)); err != nil {
		return nil, err
	}
	if v.Charts, err = d.dayCharts(ctx, s); err != nil {
		d.logTrouble(r, err)
		return sections, nil // the charts do not change
	}
	return sections, part(ctx, &sections, "day", templates.OverviewDay(s, v))
}

func (d *Dashboard) logReading(r *http.Request, snap *snapshot) {
	if snap.err != nil {
		d.logTrouble(r, snap.err)
	}
}

func (d *Dashboard) overviewModel(s templates.Site, snap *snapshot) templates.Overview {
	now := snap.now
	v := templates.Overview{
		At: snap.at, Window: now.Window, Live: now.Live, Batch: now.Batch, Queue: now.Queue,
		Waiting:  waiting(now.Waiting),
		Problems: problems(s, now.Problems),
		Gateways: gateways(now.Gateways),
	}
	v.Queue.Paused = now.Paused.Texts()
	if snap.err != nil {
		v.Trouble, _ = told(snap.err)
	}
	v.Prices, v.MorePrices = prices(now.Prices)
	for _, u := range now.Upstreams {
		v.Upstreams = append(v.Upstreams, upstreamRow(s, u))
		v.Live.InFlight += u.LiveInFlight
		v.Batch.InFlight += u.BatchInFlight
	}
	// The rates and the requests in flight are those of all gateways. The limits of
	// the others are not known here.
	for _, g := range now.Gateways {
		if g.Self {
			continue
		}
		v.Live.InFlight += g.Live
		v.Batch.InFlight += g.Batch
		v.Queue.InFlight += int64(g.Batch)
		v.Queue.Limit = 0
	}
	for i, b := range now.Active {
		if i == overviewRows {
			break
		}
		v.Batches = append(v.Batches, batchRow(b, snap.at))
	}
	v.More = now.Queue.Active - len(v.Batches)
	return v
}

// waiting returns the requests that wait in the gateway.
func waiting(all []upstreams.QueueStatus) []templates.Waiting {
	views := make([]templates.Waiting, 0, len(all))
	for _, q := range all {
		views = append(views, templates.Waiting{
			Model: q.Model, Class: q.Class, Requests: int64(q.Waiting), Oldest: time.Duration(q.Oldest * float64(time.Second)),
		})
	}
	return views
}

// priceRows limits the models on the overview with their price of batch.
const priceRows = 4

// prices formats the prices of batch: of the models with a known price, or of others
// if there is none.
func prices(all []upstreams.Price) (rows []templates.Price, more int) {
	known := slices.DeleteFunc(slices.Clone(all), func(p upstreams.Price) bool { return p.TTFT.P50 == nil })
	if len(known) == 0 {
		known = all
	}
	for _, p := range known[:min(len(known), priceRows)] {
		row := templates.Price{Text: p.String()}
		if len(all) > 1 {
			row.Model = p.Model
		}
		rows = append(rows, row)
	}
	return rows, len(all) - len(rows)
}

func problems(s templates.Site, all []Problem) []templates.Problem {
	views := make([]templates.Problem, 0, len(all))
	for _, p := range all {
		v := templates.Problem{Severity: string(p.Severity), What: p.What, Detail: p.Detail, Remedy: p.Remedy, Since: p.Since}
		switch p.Subject {
		case BatchSubject:
			v.URL = s.To("batches", p.SubjectID)
		case UpstreamSubject:
			v.URL = s.To("upstreams", upstreamKey(p.SubjectID))
		case FilesSubject:
			v.URL = s.To("files")
		case DoctorSubject:
			if s.Operates {
				v.URL = s.To("doctor")
			}
		}
		views = append(views, v)
	}
	return views
}

// remembered is a cached series.
type remembered struct {
	mu     sync.Mutex
	at     time.Time // guarded by mu
	series Series    // guarded by mu; never modified
}

// dayAge is the maximum age of the charts on the overview.
const dayAge = 15 * time.Second

// dayCharts returns the charts of the last 24 hours for the overview.
func (d *Dashboard) dayCharts(ctx context.Context, s templates.Site) ([]templates.Chart, error) {
	span := spans[0]
	q := span.query(s.Now, "")
	d.day.mu.Lock()
	defer d.day.mu.Unlock()
	if d.day.at.IsZero() || s.Now.Sub(d.day.at) > dayAge || s.Now.Before(d.day.at) {
		series, err := d.source.Throughput.Series(ctx, q)
		if err != nil {
			return nil, err
		}
		d.day.at, d.day.series = s.Now, series
	}
	buckets := fill(q, d.day.series.Buckets)
	return []templates.Chart{requestChart(s, span, buckets), outputChart(s, span, buckets)}, nil
}
