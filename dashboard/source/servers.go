package source

import (
	"context"
	"time"

	"github.com/tidegate/tidegate/batch"
	"github.com/tidegate/tidegate/dashboard"
	"github.com/tidegate/tidegate/upstreams"
)

type servers struct {
	*source
	minutes *remembered[[]dashboard.Minute]
}

// minutesAge is the maximum age of the cached minutes of the last hour.
const minutesAge = 5 * time.Second

func newServers(s *source) servers {
	return servers{s, remember(minutesAge, s.Config.Now, func(context.Context) ([]dashboard.Minute, error) {
		all := s.Pool.Minutes()
		minutes := make([]dashboard.Minute, len(all))
		for i, m := range all {
			minutes[i] = dashboard.Minute{
				At: m.At, Missed: m.Missed, Live: m.Live, Batch: m.Batch,
				Answered: [2]int64{m.Requests[upstreams.Live] - m.Failures[upstreams.Live], m.Requests[upstreams.Batch] - m.Failures[upstreams.Batch]},
				Failed:   m.Failures[upstreams.Live] + m.Failures[upstreams.Batch], TTFT: dashboard.Latency(m.TTFT),
			}
		}
		return minutes, nil
	})}
}

// Minutes returns the minutes of all servers together.
func (s servers) Minutes(ctx context.Context) ([]dashboard.Minute, error) { return s.minutes.get(ctx) }

// upstreams returns the servers with their activity in the last minute.
func (s *source) upstreams() []dashboard.Upstream {
	recent := s.Pool.Recent()
	status := s.Pool.Status()
	all := make([]dashboard.Upstream, 0, len(status))
	for _, u := range status {
		all = append(all, upstreamOf(u, recent[u.URL]))
	}
	return all
}

func upstreamOf(u upstreams.UpstreamStatus, r upstreams.Recent) dashboard.Upstream {
	return dashboard.Upstream{
		UpstreamStatus: u, Window: r.Window, Recent: r.Requests, Failures: r.Failures,
		TTFT: dashboard.Latency(r.TTFT), ITL: dashboard.Latency(r.ITL),
	}
}

// Upstream returns one server.
func (s servers) Upstream(_ context.Context, url string) (dashboard.UpstreamDetail, error) {
	t, ok := s.Pool.Telemetry(url)
	if !ok {
		return dashboard.UpstreamDetail{}, batch.ErrNotFound
	}
	var d dashboard.UpstreamDetail
	others := make(map[string]bool)
	for _, u := range s.Pool.Status() {
		if u.URL == url {
			d.Upstream = upstreamOf(u, t.Recent)
			continue
		}
		if u.State.TakesRequests() {
			for _, m := range u.Models {
				others[m] = true
			}
		}
	}
	if d.URL == "" {
		return dashboard.UpstreamDetail{}, batch.ErrNotFound // it was removed concurrently
	}
	for _, m := range d.Models {
		if !others[m] {
			d.OnlyOneFor = append(d.OnlyOneFor, m)
		}
	}
	d.Step = t.Step
	for _, p := range t.History {
		d.History = append(d.History, dashboard.UpstreamPoint{
			At: p.At, Missed: p.Missed, Live: p.Live, Batch: p.Batch, Waiting: p.Waiting, KVCacheUsage: p.KVCacheUsage,
			Requests: p.Requests, Failures: p.Failures, TTFT: dashboard.Latency(p.TTFT), ITL: dashboard.Latency(p.ITL),
		})
	}
	for _, f := range t.Failures {
		d.Errors = append(d.Errors, dashboard.UpstreamError{
			At: f.At, Class: f.Class.String(), Endpoint: f.Endpoint, Model: f.Model, Status: f.Status, Message: f.Message,
		})
	}
	return d, nil
}

// SetDraining drains or undrains a server.
func (s servers) SetDraining(_ context.Context, url string, draining bool) error {
	change := s.Pool.Undrain
	if draining {
		change = func(url string) error { return s.Pool.DrainBy(url, "the dashboard") }
	}
	if change(url) != nil { // the server does not exist
		return batch.ErrNotFound
	}
	return nil
}
