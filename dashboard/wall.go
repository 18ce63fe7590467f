package dashboard

import (
	"context"
	"net/http"
	"slices"
	"time"

	"github.com/tidegate/tidegate/templates"
	"github.com/tidegate/tidegate/upstreams"
)

// wall serves a summary of the pool for a wall-mounted screen.
func (d *Dashboard) wall(w http.ResponseWriter, r *http.Request) error {
	s := d.site(r, "Wall", "Wall")
	s.Stream, s.Wide = "/events/wall", true
	snap := d.current(r)
	d.logReading(r, snap)
	v, err := d.wallModel(r.Context(), s, snap)
	if err != nil {
		return err
	}
	return d.render(w, r, http.StatusOK, templates.WallPage(s, v))
}

func (d *Dashboard) wallLive(ctx context.Context, r *http.Request, s templates.Site, snap *snapshot) (sections []section, err error) {
	d.logReading(r, snap)
	v, err := d.wallModel(ctx, s, snap)
	if err != nil {
		return nil, err
	}
	if err := part(ctx, &sections, "problems", templates.WallProblems(s, v)); err != nil || snap.err != nil {
		return sections, err
	}
	if err := part(ctx, &sections, "now", templates.WallNow(v)); err != nil {
		return nil, err
	}
	if err := part(ctx, &sections, "hour", templates.WallHour(v)); err != nil {
		return nil, err
	}
	return sections, part(ctx, &sections, "tiles", templates.WallTiles(v))
}

func (d *Dashboard) wallModel(ctx context.Context, s templates.Site, snap *snapshot) (templates.Wall, error) {
	minutes, err := d.source.Upstreams.Minutes(ctx)
	if err != nil {
		return templates.Wall{}, err
	}
	v := templates.Wall{Overview: d.overviewModel(s, snap), Charts: minuteCharts(s, minutes)}
	for _, u := range snap.now.Upstreams {
		v.Used += u.LiveInFlight + u.BatchInFlight + u.OthersInFlight
		v.Slots += maxSeqs(u)
		v.Unsized = v.Unsized || maxSeqs(u) == 0
		if u.State.TakesRequests() {
			v.Up++
		}
	}
	return v, nil
}

// minuteCharts returns charts of the last hour by minute.
func minuteCharts(s templates.Site, minutes []upstreams.PoolMinute) []templates.Chart {
	chart := func(id, title string, unit templates.Unit, series []templates.Series, values func(upstreams.PoolMinute) []float64) templates.Chart {
		c := templates.Chart{ID: id, Title: title, Unit: unit, Series: series}
		for _, m := range minutes {
			at := m.At.In(s.Zone)
			col := templates.Column{Name: at.Add(-time.Minute).Format("15:04") + "–" + at.Format("15:04"), Missed: m.Missed, Values: values(m)}
			if at.Minute()%15 == 0 {
				col.Tick, col.Major = at.Format("15:04"), true
			}
			c.Columns = append(c.Columns, col)
		}
		return c
	}
	ttft := chart("ttft", "Live time to first token", templates.Seconds,
		[]templates.Series{{Name: "p50", Tone: "live"}, {Name: "to p95", Tone: "running"}},
		func(m upstreams.PoolMinute) []float64 {
			return []float64{m.TTFT.P50.Seconds(), max(0, (m.TTFT.P95 - m.TTFT.P50).Seconds())}
		})
	for i, m := range minutes {
		ttft.Columns[i].Missed = m.TTFT.N == 0 // no live stream began: the latency is not known
	}
	return []templates.Chart{
		ttft,
		chart("slots", "Slots in use by this gateway", templates.Numbers, classes, func(m upstreams.PoolMinute) []float64 { return []float64{m.Live, m.Batch} }),
		chart("ended", "Requests that ended", templates.Numbers,
			slices.Concat(classes, []templates.Series{{Name: "failed", Tone: "bad"}}),
			func(m upstreams.PoolMinute) []float64 {
				answered := func(c upstreams.Class) float64 { return float64(max(0, m.Requests[c]-m.Failures[c])) }
				failed := m.Failures[upstreams.Live] + m.Failures[upstreams.Batch]
				return []float64{answered(upstreams.Live), answered(upstreams.Batch), float64(failed)}
			}),
	}
}
