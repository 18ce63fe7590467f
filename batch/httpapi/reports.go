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
// numbers without a currency, 0 without prices.

// Reports has the methods that the API needs for reports.
type Reports interface {
	Estimates(ctx context.Context, batches ...batch.Batch) (map[string]engine.Estimate, error)
	Analytics() batch.AnalyticsStore
	Capacity() engine.Capacity
	// StoreTime returns the time of the store's clock, by which batches are created and
	// end.
	StoreTime(ctx context.Context) (time.Time, error)
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

// reportPeriod ends with the current step of the store's clock.
func (h *handler) reportPeriod(ctx context.Context) (batch.Period, error) {
	now, err := h.batches.StoreTime(ctx)
	if err != nil {
		return batch.Period{}, err
	}
	end := now.UTC().Truncate(reportStep).Add(reportStep)
	return batch.Period{From: end.Add(-reportTime), To: end, Step: reportStep}, nil
}

// stepOf returns the index of the step of a period in which a time is, false before the
// period. A time after the period is in the last step: the clock may have passed the end
// of the period since it was read.
func stepOf(p batch.Period, at time.Time) (int, bool) {
	if at.Before(p.From) {
		return 0, false
	}
	return min(int(at.Sub(p.From)/reportStep), reportSteps-1), true
}

// reported lists the batches that reports are about: those created since a time that
// are not deleted, the newest first.
func (h *handler) reported(ctx context.Context, tenant string, since time.Time) ([]batch.Batch, error) {
	page, err := h.batches.Analytics().FindBatches(ctx, tenant, batch.BatchFilter{From: since, Limit: reportSpan})
	return page.Batches, err
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
