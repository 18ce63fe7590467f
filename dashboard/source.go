package dashboard

import (
	"context"
	"io"
	"time"

	"github.com/tidegate/tidegate/batch"
	"github.com/tidegate/tidegate/batch/engine"
	"github.com/tidegate/tidegate/templates"
	"github.com/tidegate/tidegate/upstreams"
)

// Source provides the data of all pages. All parts are required.
//
// The methods act for one tenant, the dashboard's, and must be safe for concurrent
// use. The errors batch.ErrNotFound, batch.ErrConflict, batch.ErrUnavailable,
// batch.ErrNoSpace and *openai.Error are shown with their own texts, all others as
// server errors.
type Source struct {
	Overview   Overview
	Throughput Throughput
	Usage      Usage
	Limits     Limits
	Batches    Batches
	Files      Files
	Upstreams  Upstreams
	Doctor     Doctor
	Audit      Audit
	Keys       Keys
	Webhooks   Webhooks
}

// Overview provides the current state.
type Overview interface {
	// Now is called once a second while any page is open, independently of the number
	// of viewers, and once for each page opened in between.
	Now(ctx context.Context) (Now, error)
}

// Now is the state at one time.
type Now struct {
	At time.Time

	// Window is the period of the average rates, up to At.
	Window      time.Duration
	Live, Batch templates.Rate // without InFlight

	Upstreams []Upstream      // in the configuration's order
	Queue     templates.Queue // without Paused
	// Paused are the reasons why batch work is stopped.
	Paused engine.Problems
	// Gateways share the work, this one first; empty if this is the only one and its
	// role is all.
	Gateways []engine.Gateway
	// Prices are the prices of batch by model; empty if they are not measured.
	Prices []upstreams.Price

	// Active are the batches that have not ended, in the order of their rotation; at
	// most a few dozen. Queue.Active counts all.
	Active []Batch

	// Waiting are live and flex requests that wait in the gateway, by model.
	Waiting []upstreams.QueueStatus

	// Problems are the current problems, the worst first.
	Problems []Problem
}

// Problem is a problem and its remedy.
type Problem struct {
	Severity Severity
	What     string // a sentence: "http://vllm-2:8000 is down"
	Since    time.Time
	Detail   string // details, such as "connection refused"
	Remedy   string // what to do
	// Subject links to a page: BatchSubject and the batch's id, UpstreamSubject and
	// the upstream's URL, or "" and "".
	Subject   Subject
	SubjectID string
	// Model is the model that it concerns, "" for none. Clients that may not use the model
	// do not see the problem.
	Model string
}

// Subject is the kind of a problem's subject.
type Subject string

// The subjects of problems.
const (
	BatchSubject    Subject = "batch"
	UpstreamSubject Subject = "upstream"
	FilesSubject    Subject = "files"
	DoctorSubject   Subject = "doctor"
)

// Severity is the severity of a problem.
type Severity string

// The severities: Failing affects users now, Warning will.
const (
	Failing Severity = "failing"
	Warning Severity = "warning"
)

// Download is a content for the reader. It must be closed.
type Download struct {
	io.ReadCloser
	Filename string
	Bytes    int64 // -1: not known before it is read
}

// Batch is a batch in lists.
type Batch struct {
	batch.Batch

	InputName string // the input file's name; "" if it was deleted
	RetryOf   string // id of the batch whose failed lines it repeats

	Waits     string             // why no line starts without a problem, "" if there is no such reason
	InFlight  int64              // running lines
	LineRate  float64            // lines per second now, an average of the last minute
	Remaining templates.Estimate // until it ends
	Misses    bool               // it will miss its deadline at the current rate
}
