package dashboard

import (
	"context"

	"github.com/tidegate/tidegate/upstreams"
)

// Upstreams provides the servers of the pool, identified by their URLs.
type Upstreams interface {
	// Upstream returns one server, or batch.ErrNotFound.
	Upstream(ctx context.Context, url string) (UpstreamDetail, error)
	// Minutes returns the completed minutes of the last hour of all servers together,
	// the oldest first.
	Minutes(ctx context.Context) ([]upstreams.PoolMinute, error)
	// SetDraining drains or undrains a server.
	SetDraining(ctx context.Context, url string, draining bool) error
}

// Upstream is the state of a server, with the requests of the last minute.
type Upstream struct {
	upstreams.UpstreamStatus
	Recent upstreams.Recent
}

// UpstreamDetail contains the details of a server.
type UpstreamDetail struct {
	Upstream
	// OnlyOneFor are models that no other server serves now.
	OnlyOneFor []string
	Telemetry  upstreams.Telemetry
}
