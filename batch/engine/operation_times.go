package engine

import (
	"context"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/tidegate/tidegate/batch"
)

// operationBuckets are for statements and calls over a network, in seconds.
var operationBuckets = []float64{.0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30}

// operationTimes holds the durations of operations of the store and the queue, including
// failed ones. A series begins with the first operation.
type operationTimes struct{ store, queue *prometheus.HistogramVec }

func newOperationTimes() *operationTimes {
	histogram := func(name, help string) *prometheus.HistogramVec {
		return prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: name, Help: help, Buckets: operationBuckets}, []string{"operation"})
	}
	return &operationTimes{
		store: histogram("tidegate_store_operation_duration_seconds", "Duration of store operations that batch work waits for, including failed ones; commit makes results durable."),
		queue: histogram("tidegate_queue_operation_duration_seconds", "Duration of queue operations, including failed ones."),
	}
}

// Describe implements prometheus.Collector.
func (t *operationTimes) Describe(ch chan<- *prometheus.Desc) {
	t.store.Describe(ch)
	t.queue.Describe(ch)
}

// Collect implements prometheus.Collector.
func (t *operationTimes) Collect(ch chan<- prometheus.Metric) {
	t.store.Collect(ch)
	t.queue.Collect(ch)
}

// timed observes how long an operation takes until the function it returns is
// called.
func timed(in *prometheus.HistogramVec, operation string) func() {
	begun := time.Now()
	return func() { in.WithLabelValues(operation).Observe(time.Since(begun).Seconds()) }
}

// timedStore is the engine's store. It measures what batch work waits for: the
// other operations are those of requests to the API and of the collector. What a
// driver offers besides is found in Store, not here.
type timedStore struct {
	batch.Store
	times *operationTimes
}

func (s *timedStore) CreateBatch(ctx context.Context, b batch.NewBatch) (batch.Batch, bool, error) {
	defer timed(s.times.store, "create")()
	return s.Store.CreateBatch(ctx, b)
}

func (s *timedStore) ActiveBatches(ctx context.Context, limit int) ([]batch.Batch, error) {
	defer timed(s.times.store, "list")()
	return s.Store.ActiveBatches(ctx, limit)
}

func (s *timedStore) ClaimBatch(ctx context.Context, owner string, lease time.Duration, task batch.Task) (batch.BatchClaim, error) {
	defer timed(s.times.store, "claim_batch")()
	return s.Store.ClaimBatch(ctx, owner, lease, task)
}

func (s *timedStore) StartBatch(ctx context.Context, c batch.BatchClaim, p batch.Plan) error {
	defer timed(s.times.store, "start")()
	return s.Store.StartBatch(ctx, c, p)
}

func (s *timedStore) FinishBatch(ctx context.Context, c batch.BatchClaim, o batch.Outcome) error {
	defer timed(s.times.store, "finish")()
	return s.Store.FinishBatch(ctx, c, o)
}

func (s *timedStore) ClaimSlices(ctx context.Context, by batch.Claimant, refs []batch.SliceRef) ([]batch.Slice, error) {
	defer timed(s.times.store, "claim")()
	return s.Store.ClaimSlices(ctx, by, refs)
}

func (s *timedStore) RenewSlices(ctx context.Context, claims []batch.SliceClaim, lease time.Duration) ([]batch.SliceClaim, error) {
	defer timed(s.times.store, "renew")()
	return s.Store.RenewSlices(ctx, claims, lease)
}

func (s *timedStore) ReleaseSlices(ctx context.Context, released []batch.Release, lease time.Duration) error {
	defer timed(s.times.store, "release")()
	return s.Store.ReleaseSlices(ctx, released, lease)
}

func (s *timedStore) CommitResults(ctx context.Context, writes []batch.SegmentWrite) ([]batch.SliceClaim, error) {
	defer timed(s.times.store, "commit")()
	return s.Store.CommitResults(ctx, writes)
}
