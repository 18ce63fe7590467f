package dashboard

import (
	"context"
	"time"

	"github.com/tidegate/tidegate/upstreams"
)

// Upstreams are the servers of the pool. They are named by their URLs.
type Upstreams interface {
	// Upstream gives one server, or batch.ErrNotFound.
	Upstream(ctx context.Context, url string) (UpstreamDetail, error)
	// Minutes are all servers together, in the minutes of the last hour that
	// have ended, the oldest first.
	Minutes(ctx context.Context) ([]Minute, error)
	// SetDraining begins or ends that a server gets nothing new.
	SetDraining(ctx context.Context, url string, draining bool) error
}

// Upstream is how a server is.
type Upstream struct {
	upstreams.UpstreamStatus
	// Recent counts requests that ended in the last Window.
	Window           time.Duration
	Recent, Failures int64
	// TTFT is the time to the first token, ITL the time between tokens, of
	// live requests in the last Window.
	TTFT, ITL Latency
}

// Latency is how long something took, N times.
type Latency struct {
	N        int64
	P50, P95 time.Duration
}

// UpstreamDetail is everything about a server.
type UpstreamDetail struct {
	Upstream
	// OnlyOneFor are models that no other server serves now.
	OnlyOneFor []string
	// History is how it was, oldest first, a point for every Step.
	Step    time.Duration
	History []UpstreamPoint
	// Errors are its last failures, the newest first, at most fifty.
	Errors []UpstreamError
}

// UpstreamPoint is how a server was in one step of time. Numbers of requests
// and KVCacheUsage are averages over the step; a point that Missed says that
// nothing was measured.
type UpstreamPoint struct {
	At                 time.Time // end of the step
	Missed             bool
	Live, Batch        float64 // in flight
	Waiting            float64
	KVCacheUsage       float64 // 0 to 1
	Requests, Failures int64   // that ended
	TTFT, ITL          Latency
}

// Minute is how all servers together were in one minute, through this gateway.
type Minute struct {
	At          time.Time // end of the minute
	Missed      bool      // nothing was measured
	Live, Batch float64   // in flight, averages
	Answered    [2]int64  // requests that ended without a failure: live ones, lines of batches
	Failed      int64     // of both
	TTFT        Latency   // of live requests
}

// UpstreamError is a request that a server failed.
type UpstreamError struct {
	At       time.Time
	Class    string // "live" or "batch"
	Endpoint string
	Model    string
	Status   int // of the HTTP answer, 0: there was none
	Message  string
}
