package templates

import (
	"time"

	"github.com/a-h/templ"
)

// Throughput is the model of the page of what was done.
type Throughput struct {
	Span, Unit, Model    string // Unit: what a column of the charts is of
	Spans                []Choice
	From, To             time.Time
	Live, Batch, Both    Total
	Uploads, UploadBytes int64
	Created              int64 // batches
	Charts               []Chart
	Models               []ModelRow
}

// Choice is something to choose.
type Choice struct {
	Name string
	URL  templ.SafeURL
}

// Work counts what was done.
type Work struct {
	Requests, Failures, InputTokens, OutputTokens, CachedTokens int64
}

// Total is what was done in the whole time.
type Total struct {
	Work
	Seconds                             float64 // of the time that is past
	PeakRequests, PeakInput, PeakOutput Peak
}

func (t Total) average(n int64) float64 {
	if t.Seconds <= 0 {
		return 0
	}
	return float64(n) / t.Seconds
}

// Peak is the most that was done in one step, and in which.
type Peak struct {
	N  int64
	At string
}

// Raise takes in another step.
func (p *Peak) Raise(n int64, at string) {
	if n > p.N {
		p.N, p.At = n, at
	}
}

// ModelRow is what was done with one model.
type ModelRow struct {
	Model       string
	URL         templ.SafeURL
	Live, Batch Work
	Share       float64 // of all tokens
}

var spanNames = map[string]string{"24h": "24 hours", "7d": "7 days", "30d": "30 days"}
