package batch

import (
	"time"

	"github.com/tidegate/tidegate/internal/openai"
)

// How long history is kept.
const (
	HistoryTTL = 366 * 24 * time.Hour
	MinutesTTL = 30 * 24 * time.Hour
)

// PurposePart is the purpose of parts of uploads in sums of storage.
const PurposePart = "upload_part"

// MaxFileUses limits the count of batches of a file.
const MaxFileUses = 1000

// FileUse lists the batches that have a file as their input.
type FileUse struct {
	Batches int      // at most MaxFileUses
	Latest  []string // ids, newest first
	Needed  bool     // by a batch that is not over
}

// Period is the time from From up to To, exclusive, in steps. From is rounded down to a
// bucket of 15 minutes, Step, which begins at multiples of itself since the
// Unix epoch, up to a multiple of one. Where Step is a multiple of 24 h, and in
// sums over more than a week, From is rounded down to a day, UTC.
type Period struct {
	From, To time.Time
	Step     time.Duration
}

// UsagePoint is the usage of a class in a step.
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

// Waiting is the backlog of batches that are InProgress.
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
	After   string // cursor of the next page
	More    bool
}

// TenantStored has the sums of the contents and pending uploads of a tenant.
type TenantStored struct {
	Tenant string
	Stored
	Uploads int64 // that are pending
}

// StorageUse is the storage that files of a purpose use.
type StorageUse struct {
	Purpose string
	Files   int64
	Bytes   int64
}
