package dashboard

import (
	"context"
	"io"
	"time"

	"github.com/tidegate/tidegate/batch"
	"github.com/tidegate/tidegate/batch/engine"
	"github.com/tidegate/tidegate/internal/openai"
	"github.com/tidegate/tidegate/upstreams"
)

// Source is where everything on the pages comes from. All parts must be there.
//
// Their methods answer for one tenant, the dashboard's, and must be safe for
// concurrent use. Errors are shown by what they are: batch.ErrNotFound,
// batch.ErrConflict, batch.ErrUnavailable, batch.ErrNoSpace and *openai.Error
// have an answer of their own, the rest is an error of the server.
type Source struct {
	Overview   Overview
	Throughput Throughput
	Batches    Batches
	Files      Files
	Upstreams  Upstreams
	Doctor     Doctor
}

// Overview tells how things are at this moment.
type Overview interface {
	// Now is asked once a second while somebody looks, whoever and how many
	// they are, and once per page that is opened meanwhile.
	Now(ctx context.Context) (Now, error)
}

// Now is how things are at one moment.
type Now struct {
	At time.Time

	// Window is how long the time is that the rates are averages of, up to At.
	Window      time.Duration
	Live, Batch Rate

	Upstreams []Upstream // in the configuration's order
	Queue     Queue
	// Gateways share the work, this one first; empty if it is the only one and does
	// everything.
	Gateways []engine.Gateway
	// Prices are what batch costs live requests, by model; empty when that is not
	// measured.
	Prices []upstreams.Price

	// Active are the batches that are not over, those first that are served
	// first; at most a few dozen. ActiveTotal counts all.
	Active      []Batch
	ActiveTotal int

	// Waiting are live and flex requests that wait in the gateway, by model.
	Waiting []upstreams.QueueStatus

	// Problems are what is wrong, the worst first.
	Problems []Problem
}

// Rate is how much is done per second, an average.
type Rate struct {
	Requests, Failures        float64
	InputTokens, OutputTokens float64
}

// Queue is how much batch work waits.
type Queue struct {
	Waiting  int64         // lines of active batches that have no result and were not sent
	InFlight int64         // lines of this gateway that are in flight at servers
	Limit    int64         // InFlight at most, as things are; 0: nothing takes lines
	Oldest   time.Duration // how long the line waits that waits longest; 0 when none does
	Paused   []string      // why batch work stands still; empty while it does not
	Hours    string        // until when no batch runs because of the time of day; empty while batches may run
}

// Problem is something that is wrong and what to do about it.
type Problem struct {
	Severity Severity
	What     string // a sentence: "http://vllm-2:8000 is down"
	Since    time.Time
	Detail   string // what was seen: "connection refused"
	Remedy   string // what to do
	// Subject leads to a page: BatchSubject and the batch's id,
	// UpstreamSubject and the upstream's URL, or "" and "".
	Subject   Subject
	SubjectID string
}

// Subject is what kind of thing a problem is about.
type Subject string

// The subjects of problems.
const (
	BatchSubject    Subject = "batch"
	UpstreamSubject Subject = "upstream"
	FilesSubject    Subject = "files"
	DoctorSubject   Subject = "doctor"
)

// Severity is how bad a problem is.
type Severity string

// The severities: Failing is felt by users now, Warning will be.
const (
	Failing Severity = "failing"
	Warning Severity = "warning"
)

// Estimate is a statement about the future.
type Estimate struct {
	Known bool
	// Low and High are between which times it will be, measured from the
	// moment of asking.
	Low, High time.Duration
	Why       string // why it is not known: "measured for less than a minute"
}

// Download is a content that is handed to the reader. It must be closed.
type Download struct {
	io.ReadCloser
	Filename string
	Bytes    int64 // -1: not known before it is read
}

// Work counts what was done in some time.
type Work struct {
	Requests, Failures        int64
	InputTokens, OutputTokens int64
	CachedTokens              int64 // of InputTokens, those that a prefix cache had
}

// Batch is a batch as lists show it.
type Batch struct {
	batch.Batch

	PausedAt  time.Time // zero: it is not paused
	InputName string    // the input file's name; "" when it is gone
	RetryOf   string    // id of the batch whose failed lines these are

	Waits     string   // why no line starts though nothing is wrong, "" if there is no such reason
	InFlight  int64    // lines that run now
	LineRate  float64  // lines per second now, an average of the last minute
	Remaining Estimate // until it is over
	Misses    bool     // it will not be over by its deadline, as things are
}

// Finding is what validation found in a line of an input file.
type Finding = openai.BatchError
