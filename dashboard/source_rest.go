package dashboard

import (
	"context"
	"time"

	"github.com/tidegate/tidegate/batch"
	"github.com/tidegate/tidegate/doctor"
	"github.com/tidegate/tidegate/templates"
)

// Throughput provides the work done, from the counts in the store.
type Throughput interface {
	Series(ctx context.Context, q SeriesQuery) (Series, error)
}

// SeriesQuery selects the period from From up to To in steps of Step, which is 15
// minutes or a multiple of it. From and To are multiples of Step.
type SeriesQuery struct {
	batch.Period
	Model string // "" for all
}

// Series is the work in a period.
type Series struct {
	// Since is the start of the period for averages: before, there was no gateway.
	// Zero: the start of the period.
	Since time.Time
	// Buckets are in order; steps without work may be missing.
	Buckets []Bucket
	// Models are the totals of the period by model, the most tokens first, at most
	// fifty, regardless of the query's Model.
	Models []ModelWork
}

// Bucket is the work in one step.
type Bucket struct {
	Start                time.Time
	Live, Batch          templates.Work
	Uploads, UploadBytes int64
	Batches              int64 // created
}

// ModelWork is the work with one model.
type ModelWork struct {
	Model       string
	Live, Batch templates.Work
}

// Doctor provides the results of checks.
type Doctor interface {
	// Checks may return a report that is a few seconds old.
	Checks(ctx context.Context) (doctor.Report, error)
}
