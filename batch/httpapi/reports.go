package httpapi

import (
	"context"
	"math"
	"net/http"
	"time"

	"github.com/tidegate/tidegate/batch"
	"github.com/tidegate/tidegate/batch/engine"
)

// The reports of the batch server BESH, for its pages and scripts. The second generation of
// BESH has them at /v1/dashboard and /v1/analytics, the first below /v1/batches. Costs are
// unknown: they are 0.

// Reports has the methods that the API needs for reports.
type Reports interface {
	Estimates(ctx context.Context, batches ...batch.Batch) (map[string]engine.Estimate, error)
	Analytics() batch.AnalyticsStore
	Capacity() engine.Capacity
	// PingQueue returns why the queue cannot be used, nil when it can.
	PingQueue(ctx context.Context) error
}

// The time that reports are about, in steps of 15 minutes.
const (
	reportStep  = 15 * time.Minute
	reportSteps = 96
	reportTime  = reportSteps * reportStep
)

// reportSpan is the number of batches that reports cover, from the newest.
const reportSpan = 10_000

// reportPeriod ends with the present step.
func (h *handler) reportPeriod() batch.Period {
	end := h.now().UTC().Truncate(reportStep).Add(reportStep)
	return batch.Period{From: end.Add(-reportTime), To: end, Step: reportStep}
}

// isoTime is a time as Python's datetime.isoformat writes it: UTC without a zone,
// always with microseconds.
type isoTime time.Time

const isoLayout = "2006-01-02T15:04:05.000000"

// MarshalText writes the time.
func (t isoTime) MarshalText() ([]byte, error) {
	return time.Time(t).UTC().AppendFormat(nil, isoLayout), nil
}

// iso returns a time in the format of reports, nil for none.
func iso(t time.Time) *isoTime {
	if t.IsZero() {
		return nil
	}
	return new(isoTime(t))
}

// label is the time of day of a step, UTC.
func label(t time.Time) string { return t.UTC().Format("15:04") }

// rounded has two decimals.
func rounded(f float64) float64 { return math.Round(100*f) / 100 }

// reportSeconds has six decimals at most, as the times of the reports. Duration.Seconds adds
// the parts and yields 1.9280629999999999 for 1.928063 s.
func reportSeconds(d time.Duration) float64 { return float64(d.Microseconds()) / 1e6 }

// timeRange is the period of a report.
type timeRange struct {
	Start isoTime `json:"start"`
	End   isoTime `json:"end"`
}

func rangeOf(p batch.Period) timeRange { return timeRange{isoTime(p.From), isoTime(p.To)} }

// statusReport has the members of both generations.
type statusReport struct {
	RedisStatus          string `json:"redis_status"` // "connected" or "error: …", for every kind of queue
	QueueLength          int64  `json:"queue_length"`
	TotalBatchesInDB     int64  `json:"total_batches_in_db"`
	ActiveBatchesInDB    int64  `json:"active_batches_in_db"`
	ActiveBatches        int64  `json:"active_batches"`
	QueuedBatches        int64  `json:"queued_batches"`
	MaxWorkers           int    `json:"max_workers"`
	MaxConcurrentBatches int    `json:"max_concurrent_batches"`
}

// reportStatus counts batches that are in progress, finalizing or cancelling as active, up
// to the number that is served at a time, and the others as queued.
func (h *handler) reportStatus(w http.ResponseWriter, r *http.Request, _ string) error {
	states, err := h.batches.Analytics().BatchStates(r.Context(), h.tenant(r))
	if err != nil {
		return err
	}
	capacity := h.batches.Capacity()
	o := statusReport{RedisStatus: "connected", MaxWorkers: capacity.MaxInFlight, MaxConcurrentBatches: capacity.MaxConcurrentBatches}
	if !capacity.Role.Works() {
		o.MaxWorkers = 0
	}
	if err := h.batches.PingQueue(r.Context()); err != nil {
		o.RedisStatus = "error: " + err.Error()
	}
	for status, n := range states {
		o.TotalBatchesInDB += n
		if !status.Terminal() {
			o.ActiveBatchesInDB += n
		}
	}
	o.ActiveBatches = min(o.ActiveBatchesInDB-states[batch.Validating], int64(capacity.MaxConcurrentBatches))
	o.QueuedBatches = o.ActiveBatchesInDB - o.ActiveBatches
	o.QueueLength = o.QueuedBatches
	return answer(w, o)
}
