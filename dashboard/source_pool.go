package dashboard

import (
	"context"
	"time"

	"github.com/tidegate/tidegate/upstreams"
)

// Upstreams provides the servers of the pool, identified by their URLs.
type Upstreams interface {
	// Upstream returns one server, or batch.ErrNotFound.
	Upstream(ctx context.Context, url string) (UpstreamDetail, error)
	// Minutes returns the completed minutes of the last hour of all servers together,
	// the oldest first.
	Minutes(ctx context.Context) ([]Minute, error)
	// SetDraining drains or undrains a server.
	SetDraining(ctx context.Context, url string, draining bool) error
}

// Upstream is the state of a server.
type Upstream struct {
	upstreams.UpstreamStatus
	// Recent counts requests that ended in the last Window.
	Window           time.Duration
	Recent, Failures int64
	// TTFT is the time to the first token, ITL the time between tokens, of live
	// requests in the last Window.
	TTFT, ITL Latency
}

// Latency summarizes N durations.
type Latency struct {
	N        int64
	P50, P95 time.Duration
}

// UpstreamDetail contains the details of a server.
type UpstreamDetail struct {
	Upstream
	// OnlyOneFor are models that no other server serves now.
	OnlyOneFor []string
	// History is its history, oldest first, a point for every Step.
	Step    time.Duration
	History []UpstreamPoint
	// Errors are its last failures, the newest first, at most fifty.
	Errors []UpstreamError
}

// UpstreamPoint is the state of a server in one step. Numbers of requests and
// KVCacheUsage are averages over the step; Missed is true if nothing was measured.
type UpstreamPoint struct {
	At                 time.Time // end of the step
	Missed             bool
	Live, Batch        float64 // in flight
	Waiting            float64
	KVCacheUsage       float64 // 0 to 1
	Requests, Failures int64   // that ended
	TTFT, ITL          Latency
}

// Minute summarizes all servers in one minute, for this gateway.
type Minute struct {
	At          time.Time // end of the minute
	Missed      bool      // nothing was measured
	Live, Batch float64   // in flight, averages
	Answered    [2]int64  // requests that ended without a failure: live ones, lines of batches
	Failed      int64     // of both
	TTFT        Latency   // of live requests
}

// UpstreamError is a request that failed on a server.
type UpstreamError struct {
	At       time.Time
	Class    string // "live" or "batch"
	Endpoint string
	Model    string
	Status   int // of the HTTP answer, 0: there was none
	Message  string
}
