package dashboard

import (
	"context"
	"maps"
	"net/http"
	"slices"
	"time"

	"github.com/tidegate/tidegate/access"
	"github.com/tidegate/tidegate/batch"
	"github.com/tidegate/tidegate/templates"
	"github.com/tidegate/tidegate/upstreams"
)

func (d *Dashboard) upstreamList(w http.ResponseWriter, r *http.Request) error {
	snap := d.current(r)
	if snap.err != nil {
		return snap.err
	}
	s := d.site(r, "Upstreams", "Upstreams")
	s.Stream = "/events/upstreams"
	return d.render(w, r, http.StatusOK, templates.UpstreamsPage(s, upstreamRows(s, snap), waiting(snap.now.Waiting)))
}

func (d *Dashboard) upstreamListLive(ctx context.Context, _ *http.Request, s templates.Site, snap *snapshot) (sections []section, err error) {
	if snap.err != nil {
		return nil, snap.err
	}
	return sections, part(ctx, &sections, "upstreams", templates.UpstreamList(s, upstreamRows(s, snap), waiting(snap.now.Waiting)))
}

func upstreamRows(s templates.Site, snap *snapshot) []templates.UpstreamRow {
	rows := make([]templates.UpstreamRow, 0, len(snap.now.Upstreams))
	for _, u := range snap.now.Upstreams {
		rows = append(rows, upstreamRow(s, u))
	}
	return rows
}

// urlOf returns the URL of the server with a key.
func urlOf(snap *snapshot, key string) (string, error) {
	if snap.err != nil {
		return "", snap.err
	}
	for _, u := range snap.now.Upstreams {
		if upstreamKey(u.URL) == key {
			return u.URL, nil
		}
	}
	return "", batch.ErrNotFound
}

func (d *Dashboard) upstreamModel(ctx context.Context, s templates.Site, snap *snapshot, key string) (templates.Upstream, error) {
	url, err := urlOf(snap, key)
	if err != nil {
		return templates.Upstream{}, err
	}
	u, err := d.source.Upstreams.Upstream(ctx, url)
	if err != nil {
		return templates.Upstream{}, err
	}
	u.UpstreamStatus, u.Telemetry = u.For(snap.client), u.Telemetry.For(snap.client)
	u.OnlyOneFor = access.VisibleModels(snap.client, u.OnlyOneFor)
	v := templates.Upstream{
		UpstreamRow: upstreamRow(s, u.Upstream), Key: key, Weight: u.Weight, MaxModelLen: u.MaxModelLen,
		Requests: u.Requests, AllFailures: u.Failures, OnlyOneFor: u.OnlyOneFor, Charts: upstreamCharts(s, u.Telemetry),
	}
	for _, model := range slices.Sorted(maps.Keys(u.CachedPrompts)) {
		v.PrefixHits = append(v.PrefixHits, templates.PrefixHits{Model: model, Live: u.CachedPrompts[model].Live, Batch: u.CachedPrompts[model].Batch})
	}
	for _, f := range u.Telemetry.Failures {
		v.Errors = append(v.Errors, templates.UpstreamError{
			At: f.At, Class: f.Class.String(), Endpoint: f.Endpoint, Model: f.Model, Status: f.Status, Message: f.Message,
		})
	}
	return v, nil
}

func (d *Dashboard) upstream(w http.ResponseWriter, r *http.Request) error {
	key := r.PathValue("key")
	s := d.site(r, "Upstreams", "Upstream")
	v, err := d.upstreamModel(r.Context(), s, d.current(r), key)
	if err != nil {
		return err
	}
	s.Title = v.URL
	s.Stream = "/events/upstreams/" + key
	return d.render(w, r, http.StatusOK, templates.UpstreamPage(s, v))
}

func (d *Dashboard) upstreamLive(ctx context.Context, r *http.Request, s templates.Site, snap *snapshot) (sections []section, err error) {
	v, err := d.upstreamModel(ctx, s, snap, r.PathValue("key"))
	if err != nil {
		return nil, err
	}
	if err := part(ctx, &sections, "state", templates.UpstreamState(s, v)); err != nil {
		return nil, err
	}
	if err := part(ctx, &sections, "charts", templates.UpstreamCharts(v)); err != nil {
		return nil, err
	}
	return sections, part(ctx, &sections, "errors", templates.UpstreamErrors(s, v))
}

func upstreamCharts(s templates.Site, t upstreams.Telemetry) []templates.Chart {
	if len(t.History) == 0 {
		return nil
	}
	chart := func(id, title string, unit templates.Unit, top float64, series []templates.Series, values func(upstreams.TelemetryPoint) []float64) templates.Chart {
		c := templates.Chart{ID: id, Title: title, Unit: unit, Top: top, Series: series}
		every := max(1, len(t.History)/4)
		clock := "15:04"
		if time.Duration(every)*t.Step < 2*time.Minute {
			clock = "15:04:05"
		}
		for i, p := range t.History {
			at := p.At.In(s.Zone)
			col := templates.Column{Name: at.Add(-t.Step).Format("Jan 2 15:04:05") + "–" + at.Format("15:04:05"), Values: values(p), Missed: p.Missed}
			if i%every == every/2 {
				col.Tick, col.Major = at.Format(clock), true
			}
			c.Columns = append(c.Columns, col)
		}
		return c
	}
	one := func(name, tone string) []templates.Series { return []templates.Series{{Name: name, Tone: tone}} }
	quantiles := []templates.Series{{Name: "median", Tone: "live"}, {Name: "to 95 %", Tone: "running"}}
	of := func(l upstreams.Latency) []float64 {
		return []float64{l.P50.Seconds(), max(0, (l.P95 - l.P50).Seconds())}
	}
	return []templates.Chart{
		chart("flight", "Requests in flight", templates.Numbers, 0, classes, func(p upstreams.TelemetryPoint) []float64 { return []float64{p.Live, p.Batch} }),
		chart("waiting", "Waiting on the server", templates.Numbers, 0, one("requests", "plain"), func(p upstreams.TelemetryPoint) []float64 { return []float64{p.Waiting} }),
		chart("kv", "KV cache in use", templates.Shares, 1, one("share", "plain"), func(p upstreams.TelemetryPoint) []float64 { return []float64{p.KVCacheUsage} }),
		chart("ended", "Requests that ended per "+templates.Span(t.Step), templates.Numbers, 0,
			[]templates.Series{{Name: "answered", Tone: "good"}, {Name: "failed", Tone: "bad"}},
			func(p upstreams.TelemetryPoint) []float64 {
				return []float64{float64(p.Requests - p.Failures), float64(p.Failures)}
			}),
		chart("ttft", "Time to first token", templates.Seconds, 0, quantiles, func(p upstreams.TelemetryPoint) []float64 { return of(p.TTFT) }),
		chart("itl", "Time between tokens", templates.Seconds, 0, quantiles, func(p upstreams.TelemetryPoint) []float64 { return of(p.ITL) }),
	}
}

func (d *Dashboard) askDrain(w http.ResponseWriter, r *http.Request) error {
	s := d.site(r, "Upstreams", "Drain this server?")
	v, err := d.upstreamModel(r.Context(), s, d.current(r), r.PathValue("key"))
	if err != nil {
		return err
	}
	c := templates.Confirmation{
		Title: s.Title, Subject: v.URL, Button: "Drain the server", Action: s.To("upstreams", v.Key, "drain"), Back: s.To("upstreams", v.Key),
		Text: []string{
			"It gets no new requests. Running requests continue: " + templates.Plural(int64(v.Live+v.Batch), "request", "requests") + " of this gateway.",
		},
	}
	for _, m := range v.OnlyOneFor {
		c.Text = append(c.Text, "No other server has "+m+" now: requests for it are refused until one has.")
		c.Danger = true
	}
	return d.render(w, r, http.StatusOK, templates.ConfirmPage(s, c))
}

func (d *Dashboard) drain(draining bool) func(http.ResponseWriter, *http.Request) error {
	return func(w http.ResponseWriter, r *http.Request) error {
		key := r.PathValue("key")
		url, err := urlOf(d.current(r), key)
		if err != nil {
			return err
		}
		if err := d.source.Upstreams.SetDraining(r.Context(), url, draining); err != nil {
			return err
		}
		done := "draining"
		if !draining {
			done = "undrained"
		}
		d.went(w, r, done, "upstreams", key)
		return nil
	}
}
