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
	minutes *remembered[[]upstreams.PoolMinute]
}

// minutesAge is the maximum age of the cached minutes of the last hour.
const minutesAge = 5 * time.Second

func newServers(s *source) servers {
	return servers{s, remember(minutesAge, s.Config.Now, func(context.Context) ([]upstreams.PoolMinute, error) { return s.Pool.Minutes(), nil })}
}

// Minutes returns the minutes of all servers together.
func (s servers) Minutes(ctx context.Context) ([]upstreams.PoolMinute, error) {
	return s.minutes.get(ctx)
}

// upstreams returns the servers with their activity in the last minute.
func (s *source) upstreams() []dashboard.Upstream {
	recent := s.Pool.Recent()
	status := s.Pool.Status()
	all := make([]dashboard.Upstream, 0, len(status))
	for _, u := range status {
		all = append(all, dashboard.Upstream{UpstreamStatus: u, Recent: recent[u.URL]})
	}
	return all
}

// Upstream returns one server.
func (s servers) Upstream(_ context.Context, url string) (dashboard.UpstreamDetail, error) {
	t, ok := s.Pool.Telemetry(url)
	if !ok {
		return dashboard.UpstreamDetail{}, batch.ErrNotFound
	}
	d := dashboard.UpstreamDetail{Telemetry: t}
	others := make(map[string]bool)
	for _, u := range s.Pool.Status() {
		if u.URL == url {
			d.Upstream = dashboard.Upstream{UpstreamStatus: u, Recent: t.Recent}
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
	return d, nil
}

// SetDraining drains or undrains a server.
func (s servers) SetDraining(ctx context.Context, url string, draining bool) error {
	action, change := batch.AuditServerUndrain, s.Pool.Undrain
	if draining {
		action, change = batch.AuditServerDrain, func(url string) error { return s.Pool.DrainBy(url, "the dashboard") }
	}
	if s.Audited != nil {
		change = s.Audited(ctx, action, change)
	}
	if change(url) != nil { // the server does not exist
		return batch.ErrNotFound
	}
	return nil
}
