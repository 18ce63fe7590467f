package batch

import (
	"context"
	"time"

	"github.com/tidegate/tidegate/internal/openai"
)

// AnalyticsStore answers what reports ask. None of it goes through tables that
// grow with finished work: counters are kept on write, lists are by index.
type AnalyticsStore interface {
	// UsageSeries sums usage of a model ("" for all) by class over steps of a
	// period, in order, without steps in which nothing was used.
	UsageSeries(ctx context.Context, tenant, model string, p Period) ([]UsagePoint, error)
	// UsageByModel sums usage by class and model over a period, which are
	// set besides the sums.
	UsageByModel(ctx context.Context, tenant string, p Period) ([]UsageRecord, error)
	// Events counts events by kind over steps of a period, in order, without
	// steps in which there were none.
	Events(ctx context.Context, tenant string, p Period) ([]EventPoint, error)
	// BatchStates counts batches that are not deleted by status.
	BatchStates(ctx context.Context, tenant string) (map[Status]int64, error)
	// Waiting tells what batches that are InProgress have before them.
	Waiting(ctx context.Context, tenant string) (Waiting, error)
	// FindBatches lists batches, newest first. A page of a search for text
	// may be short, even empty, while More is true: one call looks at a
	// bounded number of batches. ErrBadCursor is for an After of no page.
	FindBatches(ctx context.Context, tenant string, f BatchFilter) (BatchPage, error)
	// FileUses tells which batches have files as their input, by the ids of
	// the files, those that none has left out; of each file the latest few
	// batches.
	FileUses(ctx context.Context, tenant string, ids []string, latest int) (map[string]FileUse, error)
	// FileNames gives the names of files by their ids, of deleted ones too as
	// long as their rows are there. Unknown ids are left out.
	FileNames(ctx context.Context, tenant string, ids []string) (map[string]string, error)
	// LargestFiles lists files, those with the most bytes first.
	LargestFiles(ctx context.Context, tenant string, limit int) ([]File, error)
	// Storage sums by purpose what the contents of files take, deleted ones
	// that are not collected yet included. Parts of uploads are of purpose
	// PurposePart, indexes of results of PurposeIndex.
	Storage(ctx context.Context, tenant string) ([]StorageUse, error)
	// Pace gives what batches of all tenants got done by minute, the newest
	// minutes first, from the one on that since lies in; at most limit.
	Pace(ctx context.Context, since time.Time, limit int) ([]Pace, error)
	// PruneHistory removes usage and events older than HistoryTTL and
	// minutes of batches older than MinutesTTL, at most limit rows.
	PruneHistory(ctx context.Context, limit int) (int, error)
}

// How long history is kept.
const (
	HistoryTTL = 366 * 24 * time.Hour
	MinutesTTL = 30 * 24 * time.Hour
)

// PurposePart is the purpose of parts of uploads in sums of storage.
const PurposePart = "upload_part"

// MaxFileUses is up to where batches of a file are counted.
const MaxFileUses = 1000

// FileUse is who has a file as its input.
type FileUse struct {
	Batches int      // at most MaxFileUses
	Latest  []string // ids, newest first
	Needed  bool     // by a batch that is not over
}

// Period is From up to, and not with, To, in steps. From is rounded down to a
// bucket of 15 minutes, Step, which begins at multiples of itself since the
// Unix epoch, up to a multiple of one. Where Step is a multiple of 24 h, and in
// sums over more than a week, From is rounded down to a day, UTC.
type Period struct {
	From, To time.Time
	Step     time.Duration
}

// UsagePoint is what a class used in a step.
type UsagePoint struct {
	At                 time.Time // when the step begins
	Class              string
	Requests, Failures int64
	Usage              openai.Usage
}

// Kinds of events.
const (
	EventUpload       = "upload"        // a file was stored; Amount: bytes
	EventBatchCreated = "batch_created" // Amount: 0
	EventBatchEnded   = "batch_ended"   // Amount: microseconds from its creation
)

// EventPoint counts events of a kind in a step.
type EventPoint struct {
	At     time.Time // when the step begins
	Kind   string
	Events int64
	Amount int64
}

// Waiting is what batches that are InProgress have before them.
type Waiting struct {
	Batches, Paused int64     // paused ones are not among Batches
	Lines           int64     // without a result, those that run included; not of paused batches
	PausedLines     int64     // of paused batches
	Oldest          time.Time // when the oldest batch that is not paused began; zero without one
}

// BatchFilter asks for batches; zero fields ask for any.
type BatchFilter struct {
	Status   Status
	Active   bool // only those that are not over; Status is "" then
	Paused   bool // only those that are paused; Status is "" and Active false then
	Model    string
	Text     string    // in id, metadata or the input's file name; ASCII letters of either case
	From, To time.Time // created from From up to, and not at, To
	// OldestFirst lists the oldest batch first, otherwise the newest.
	OldestFirst bool
	After       string // BatchPage.After of the page before
	Limit       int
}

// BatchPage is a page of batches.
type BatchPage struct {
	Batches []Batch
	After   string // continues behind the page
	More    bool
}

// StorageUse is what files of a purpose take.
type StorageUse struct {
	Purpose string
	Files   int64
	Bytes   int64
}

// Analytics gives what reports ask.
func (e *Engine) Analytics() AnalyticsStore { return e.store }
