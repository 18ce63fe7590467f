package templates

import (
	"time"

	"github.com/a-h/templ"
)

// Throughput is the model of the throughput page.
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

// Choice is an option in a selection.
type Choice struct {
	Name string
	URL  templ.SafeURL
}

// Work counts the work in a period.
type Work struct {
	Requests, Failures, InputTokens, OutputTokens int64
	CachedTokens                                  int64 // of InputTokens, those from a prefix cache
}

// Plus returns the sum.
func (w Work) Plus(o Work) Work {
	return Work{
		w.Requests + o.Requests, w.Failures + o.Failures, w.InputTokens + o.InputTokens,
		w.OutputTokens + o.OutputTokens, w.CachedTokens + o.CachedTokens,
	}
}

// Total is the work in the whole period.
type Total struct {
	Work
	Seconds                             float64 // of the elapsed time
	PeakRequests, PeakInput, PeakOutput Peak
}

func (t Total) average(n int64) float64 {
	if t.Seconds <= 0 {
		return 0
	}
	return float64(n) / t.Seconds
}

// Peak is the maximum in one step, and that step.
type Peak struct {
	N  int64
	At string
}

// Raise updates the peak with another step.
func (p *Peak) Raise(n int64, at string) {
	if n > p.N {
		p.N, p.At = n, at
	}
}

// ModelRow is the work with one model.
type ModelRow struct {
	Model       string
	URL         templ.SafeURL
	Live, Batch Work
	Share       float64 // of all tokens
}

var spanNames = map[string]string{"24h": "24 hours", "7d": "7 days", "30d": "30 days"}
