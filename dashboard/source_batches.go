package dashboard

import (
	"context"
	"time"

	"github.com/tidegate/tidegate/batch"
	"github.com/tidegate/tidegate/batch/engine"
)

// Batches provides the batches and the actions on them.
type Batches interface {
	List(ctx context.Context, q BatchQuery) (BatchPage, error)
	Batch(ctx context.Context, id string) (BatchDetail, error)
	// Some returns the existing batches among ids, in the order of ids.
	Some(ctx context.Context, ids []string) ([]Batch, error)

	// Lines returns a page of a batch's lines in input order.
	Lines(ctx context.Context, id string, q engine.LineQuery) (engine.LinePage, error)
	// Line returns one line by its number in the input, from 1.
	Line(ctx context.Context, id string, number int) (engine.LineDetail, error)
	// Results opens the results of a batch so far: the lines of its output or its
	// error file.
	Results(ctx context.Context, id string, kind ResultKind) (Download, error)

	// Create creates a batch of a file. It reads the input, endpoint, window, priority
	// and metadata of r.
	Create(ctx context.Context, r batch.CreateRequest) (string, error)
	// RetryFailed creates a batch of the failed lines of another one, and returns its
	// id.
	RetryFailed(ctx context.Context, id string) (string, error)
	Cancel(ctx context.Context, id string) error
	Pause(ctx context.Context, id string) error
	Resume(ctx context.Context, id string) error
	// SetPriority accepts MinPriority to MaxPriority.
	SetPriority(ctx context.Context, id string, priority int) error
	// Delete removes a batch that has ended, its results, and, if requested, its input
	// unless it is used otherwise.
	Delete(ctx context.Context, id string, input bool) error
}

// BatchQuery selects a page of batches.
type BatchQuery struct {
	batch.BatchFilter // OldestFirst is ignored if ByState applies

	// ByState lists active batches before ended ones, and the newest first within each
	// state. It is ignored with a Status or Paused.
	ByState bool
	// AllTenants lists the batches of all tenants.
	AllTenants bool
}

// BatchPage is a page of batches.
type BatchPage struct {
	Batches []Batch
	More    bool
	After   string // cursor of the next page
	// Models are the models of batches, for the filter; a few dozen at most.
	Models []string
}

// BatchDetail contains the details of a batch except its lines.
type BatchDetail struct {
	Batch
	InputBytes, OutputBytes, ErrorBytes int64 // 0: the file does not exist, or not yet

	// History is its progress, oldest first: at most a few hundred points.
	History []ProgressPoint

	Failures engine.Failures

	RetriedBy string // id of the batch that repeats its failed lines
}

// ProgressPoint is the progress of a batch at the end of a step.
type ProgressPoint struct {
	At                time.Time
	Completed, Failed int64 // lines, up to At
}

// ResultKind selects results.
type ResultKind string

// The kinds of results.
const (
	OutputResults ResultKind = "output"
	ErrorResults  ResultKind = "errors"
)
