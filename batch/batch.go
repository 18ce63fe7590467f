package batch

import (
	"time"

	"github.com/tidegate/tidegate/access/limits"
	"github.com/tidegate/tidegate/internal/openai"
	"github.com/tidegate/tidegate/internal/saturate"
)

// Status is the state of a batch as clients see it. docs/architecture.md draws
// the machine.
type Status string

// The states of a batch.
const (
	Validating Status = "validating"
	Failed     Status = "failed" // only: the input did not validate
	InProgress Status = "in_progress"
	Finalizing Status = "finalizing"
	Completed  Status = "completed"
	Expired    Status = "expired"
	Cancelling Status = "cancelling"
	Cancelled  Status = "cancelled"
)

// Terminal reports whether the state is final.
func (s Status) Terminal() bool {
	switch s {
	case Failed, Completed, Expired, Cancelled:
		return true
	default:
		return false
	}
}

// Batch is one batch of requests.
type Batch struct {
	ID               string // "batch_" and 32 hex digits
	Tenant           string
	Endpoint         string // path that every line is sent to
	InputFileID      string
	CompletionWindow string // as the client wrote it
	Metadata         map[string]string
	Priority         int // larger goes first, MinPriority to MaxPriority for clients
	OutputTTL        time.Duration

	Status Status
	// Ending is the terminal state that a finalizing or cancelling batch is
	// on its way to: Completed, Expired or Cancelled. "" before.
	Ending Status
	Model  string // when all lines name one
	Errors []openai.BatchError
	Counts openai.RequestCounts
	Usage  openai.Usage
	// Cost is the cost of Usage, computed when each line ended. Unpriced counts the lines
	// whose model had no price.
	Cost     Money
	Unpriced int64

	OutputFileID, ErrorFileID string
	IndexFileID               string // "": it has none

	CreatedAt, ExpiresAt                              time.Time
	InProgressAt, FinalizingAt, CompletedAt, FailedAt time.Time // zero: not reached
	ExpiredAt, CancellingAt, CancelledAt              time.Time
	PausedAt                                          time.Time // zero: it is not paused

	// PauseReason is why the gateway paused the batch; "" if it is not paused or a
	// client paused it.
	PauseReason string

	// KeyID is the id of the key that made the batch, "" for a client without one.
	KeyID string
	// Models are the models that this key may use; empty: every model.
	Models []string
}

// NewBatch holds the values from which a store makes a Batch. The store sets the times
// by the database's clock.
type NewBatch struct {
	ID, Tenant, Endpoint, InputFileID, CompletionWindow string
	Window                                              time.Duration // CompletionWindow, parsed
	Metadata                                            map[string]string
	Priority                                            int
	OutputTTL                                           time.Duration // of output and error file, from the end of the batch; 0: never expire

	// IdempotencyKey makes the creation repeatable; "" for none. RequestHash is equal
	// for repetitions of the same request.
	IdempotencyKey, RequestHash string

	// KeyID and Models are those of the key that makes it. See Batch.
	KeyID  string
	Models []string
}

// BatchQuery asks for a page of batches, newest first.
type BatchQuery struct {
	After string // id of the batch before the first wanted, "" from the start
	Limit int
}

// The limits of a slice.
const (
	SliceLines = 64        // at most; the done bits of a slice are one uint64
	SliceBytes = 256 << 10 // at most, but a longer line is a slice of its own
)

// SliceRef names a slice.
type SliceRef struct {
	BatchID string
	Number  int // from 0, in input order
}

// SlicePlan is the position of a slice in the input file.
type SlicePlan struct {
	Offset, Length int64 // bytes of the input file, blank lines in between included
	FirstLine      int   // index of its first request among the batch's, from 0
	Lines          int   // requests in it, 1 to SliceLines
}

// SliceClaim is the right to work on a slice. Attempt is its fencing token: a write with
// an old one is refused.
type SliceClaim struct {
	SliceRef
	Attempt int
}

// Slice is the state of a slice in the store.
type Slice struct {
	SliceClaim
	SlicePlan
	Done uint64 // bit i: the slice's line i has a committed result
	Kept uint64 // bit i: the slice's line i is kept by a former claimant, see Release
}

// Release releases a claim, except for the lines in Keep.
type Release struct {
	SliceClaim
	// Keep holds the lines that the claimant continues to run, bit i for the slice's line
	// i. A slice with lines that another claimant keeps is skipped.
	Keep uint64
}

// Plan is the result of validating an input file.
type Plan struct {
	Model  string       // when all lines name one
	Models []ModelLines // when they name several
	Lines  int          // requests in all slices together
	Slices []SlicePlan
	Tokens int64 // of all lines, as estimated
	// Queue are the limits of the waiting lines of the client, this batch included.
	Queue []limits.QueueLimit
}

// BatchClaim is the right to validate or finalize a batch. Attempt is its fencing token:
// a write with an old one is refused.
type BatchClaim struct {
	Batch   Batch
	Attempt int
}

// LineResult is the result of one line.
type LineResult struct {
	Index  int    // of the line in its slice, from 0
	Failed bool   // it goes to the error file; to the output file otherwise
	Record []byte // the line of that file, without a newline
	Model  string
	Usage  openai.Usage
	Charge Charge // for Usage
	LineInfo
}

// LineInfo describes how a line was run. Only reports use it.
type LineInfo struct {
	Attempts int           // that this gateway made; 0: not known
	Duration time.Duration // of the last one, in whole milliseconds
	Upstream string        // of the last one
}

// SegmentWrite is a group of results of one slice.
type SegmentWrite struct {
	Claim SliceClaim
	Lines []LineResult
}

// Outcome is the result of finalizing: the files that are not empty.
type Outcome struct {
	Output, Error *NewFile
	// Index has the position of each line in them. Its tenant is IndexTenant.
	Index *NewFile
	// Lines becomes the batch's total when it has none yet: it was cancelled
	// before it was validated.
	Lines int
}

// UsageRecord adds to one cell of usage_15m, and to one of key_usage.
type UsageRecord struct {
	Tenant, Class, Model, Endpoint string // Class: "live" or "batch"
	Requests, Failures             int64
	Usage                          openai.Usage

	// KeyID is the id of the key of the client, "" for one without a key. It, Cost, Unpriced
	// and Estimated are of key_usage only. See UsageRow.
	KeyID               string
	Cost                Money
	Unpriced, Estimated int64
}

// Left returns the number of lines without a result.
func (b *Batch) Left() int64 { return b.Counts.Total - b.Counts.Completed - b.Counts.Failed }

// EndedAt returns when a batch reached its terminal state, zero if it has not.
func (b *Batch) EndedAt() time.Time {
	for _, at := range []time.Time{b.CompletedAt, b.FailedAt, b.ExpiredAt, b.CancelledAt} {
		if !at.IsZero() {
			return at
		}
	}
	return time.Time{}
}

// Add adds the counts of another record. They saturate.
func (r *UsageRecord) Add(s UsageRecord) {
	r.Requests = saturate.Add(r.Requests, s.Requests)
	r.Failures = saturate.Add(r.Failures, s.Failures)
	r.Usage.Add(s.Usage)
	r.Cost = r.Cost.Plus(s.Cost)
	r.Unpriced = saturate.Add(r.Unpriced, s.Unpriced)
	r.Estimated = saturate.Add(r.Estimated, s.Estimated)
}

// UsageCell has the names of a UsageRecord. Records of the same cell can be added.
type UsageCell struct{ Tenant, Class, Model, Endpoint, KeyID string }

// Cell returns the names of a record.
func (r *UsageRecord) Cell() UsageCell {
	return UsageCell{Tenant: r.Tenant, Class: r.Class, Model: r.Model, Endpoint: r.Endpoint, KeyID: r.KeyID}
}

// Controllable reports whether a batch in this state can be paused, resumed and
// given a priority.
func (s Status) Controllable() bool { return s == Validating || s == InProgress }

// The priorities that clients can set.
const (
	MinPriority = -100
	MaxPriority = 100
)
