package dashboard

import (
	"context"
	"time"

	"github.com/tidegate/tidegate/batch"
)

// Batches are the batches and what can be done with them.
type Batches interface {
	List(ctx context.Context, q BatchQuery) (BatchPage, error)
	Batch(ctx context.Context, id string) (BatchDetail, error)
	// Some returns the batches of ids that exist, in the order of ids.
	Some(ctx context.Context, ids []string) ([]Batch, error)

	// Lines gives a page of a batch's lines in input order.
	Lines(ctx context.Context, id string, q LineQuery) (LinePage, error)
	// Line gives one line, by its number in the input from 1.
	Line(ctx context.Context, id string, number int) (LineDetail, error)
	// Results gives what a batch has brought so far: the lines of its output
	// or its error file.
	Results(ctx context.Context, id string, kind ResultKind) (Download, error)

	// Create makes a batch of a file.
	Create(ctx context.Context, r NewBatch) (string, error)
	// RetryFailed makes a batch of the lines of another that failed, and
	// gives its id.
	RetryFailed(ctx context.Context, id string) (string, error)
	Cancel(ctx context.Context, id string) error
	Pause(ctx context.Context, id string) error
	Resume(ctx context.Context, id string) error
	// SetPriority takes MinPriority to MaxPriority.
	SetPriority(ctx context.Context, id string, priority int) error
	// Delete removes a batch that is over, its results, and its input if
	// asked and nothing else uses it.
	Delete(ctx context.Context, id string, input bool) error
}

// BatchOrder is the order of a list of batches.
type BatchOrder string

// The orders of lists. ByState lists active batches before finished ones, and
// the newest first within each state.
const (
	NewestFirst BatchOrder = ""
	OldestFirst BatchOrder = "oldest"
	ByState     BatchOrder = "state"
)

// BatchQuery asks for a page of batches.
type BatchQuery struct {
	Status batch.Status // "" for any
	Active bool         // only those that are not over; Status is "" then
	Paused bool         // only those that are paused; Status is "" and Active false then
	Model  string       // "" for any
	// Text is looked for in ids, names of input files and metadata.
	Text     string
	From, To time.Time // of creation; zero: open
	After    string    // BatchPage.After of the page before, "" from the start
	Limit    int
	Order    BatchOrder
}

// BatchPage is a page of batches.
type BatchPage struct {
	Batches []Batch
	More    bool
	After   string // continues behind the page
	// Models are those that batches have, for the filter; a few dozen at most.
	Models []string
}

// BatchDetail is everything about a batch but its lines.
type BatchDetail struct {
	Batch
	InputBytes, OutputBytes, ErrorBytes int64 // 0: there is no such file, or not yet

	// History is how it went on, oldest first: at most a few hundred points.
	History []ProgressPoint

	// Errors are failed lines by message, the most frequent first, at most a
	// few dozen groups. ErrorGroups counts all; ErrorLines is how many of the
	// failed lines, the first, were looked at.
	Errors      []ErrorGroup
	ErrorGroups int
	ErrorLines  int64

	RetriedBy string // id of the batch that repeats its failed lines
}

// ProgressPoint is how far a batch was at the end of a step of time.
type ProgressPoint struct {
	At                time.Time
	Completed, Failed int64 // lines, up to At
}

// ErrorGroup are lines that failed alike.
type ErrorGroup struct {
	Code, Message string // the message with what differs from line to line left out
	Lines         int64
	Examples      []ErrorExample // at most three
}

// ErrorExample is one line of an ErrorGroup.
type ErrorExample struct {
	Number   int // from 1
	CustomID string
	Message  string // whole
}

// LineState is what became of a line.
type LineState string

// The states of lines.
const (
	LineWaiting   LineState = "waiting" // or running
	LineCompleted LineState = "completed"
	LineFailed    LineState = "failed"
)

// LineQuery asks for a page of lines.
type LineQuery struct {
	State LineState // "" for any
	After int       // number of the line before the first wanted, 0 from the start
	Limit int
}

// LinePage is a page of lines.
type LinePage struct {
	Lines []Line
	// More says that others follow behind After. A page of one state may be
	// short, even empty, while there are more.
	More  bool
	After int
}

// Line is a line as lists show it. What is not known is zero.
type Line struct {
	Number                    int // from 1
	CustomID                  string
	State                     LineState
	Status                    int // of the HTTP answer
	Error                     string
	Attempts                  int
	Upstream                  string
	Duration                  time.Duration
	InputTokens, OutputTokens int64
}

// LineDetail is a line with what was sent and what came back.
type LineDetail struct {
	Line
	// Input and Result are JSON, cut off after 64 KiB; Result is "" before
	// there is one.
	Input, Result                   string
	InputTruncated, ResultTruncated bool
	InputBytes, ResultBytes         int64
	// Prompt and Answer are read from all of them.
	Prompt, Answer []Message
}

// ResultKind says which results are meant.
type ResultKind string

// The kinds of results.
const (
	OutputResults ResultKind = "output"
	ErrorResults  ResultKind = "errors"
)

// NewBatch asks for a batch.
type NewBatch struct {
	InputFileID string
	Endpoint    string // one of openai.BatchEndpoints
	Window      time.Duration
	Priority    int
	Metadata    map[string]string
}
