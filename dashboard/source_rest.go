package dashboard

import (
	"context"
	"time"

	"github.com/tidegate/tidegate/doctor"
)

// Throughput is what was done, from the counts that are kept on write.
type Throughput interface {
	Series(ctx context.Context, q SeriesQuery) (Series, error)
}

// SeriesQuery asks for the time from From up to To in steps of Step, which is
// 15 minutes or a multiple of it. From and To are multiples of Step.
type SeriesQuery struct {
	From, To time.Time
	Step     time.Duration
	Model    string // "" for all
}

// Series is what was done in a time.
type Series struct {
	// Since is from when on averages count: in the time before there was no
	// gateway. Zero: from the beginning.
	Since time.Time
	// Buckets are in order; a step in which nothing was done may be missing.
	Buckets []Bucket
	// Models are the totals of the time by model, the most tokens first, at
	// most fifty, whatever the query's Model.
	Models []ModelWork
}

// Bucket is what was done in one step.
type Bucket struct {
	Start                time.Time
	Live, Batch          Work
	Uploads, UploadBytes int64
	Batches              int64 // created
}

// ModelWork is what was done with one model.
type ModelWork struct {
	Model       string
	Live, Batch Work
}

// Doctor checks that everything is as it should be.
type Doctor interface {
	// Checks may be as old as a few seconds.
	Checks(ctx context.Context) (doctor.Report, error)
}
