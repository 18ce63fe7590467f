package engine

import (
	"time"

	"github.com/tidegate/tidegate/batch"
	"github.com/tidegate/tidegate/internal/openai"
)

// LineState is the state of a line.
type LineState string

// The states of a line.
const (
	// LinePending is for a line that waits, that runs, or that the end of its
	// batch left without a run.
	LinePending   LineState = "pending"
	LineCompleted LineState = "completed"
	LineFailed    LineState = "failed"
)

// Line is a line of a batch and its state.
type Line struct {
	Number   int // of the request in the input, from 1; blank lines do not count
	CustomID string
	State    LineState
	Status   int    // that the server answered, 0 if it did not
	Message  string // of the error, cut short; of failed lines and those that never ran
	Usage    openai.Usage
	batch.LineInfo
}

// LineQuery selects lines of a batch.
type LineQuery struct {
	After int       // number of the line before the first wanted, 0 from the start
	Limit int       // at most so many, 1 to MaxLines
	State LineState // "" for any
}

// MaxLines limits the lines of one page.
const MaxLines = 1000

// LinePage is a page of lines in input order.
type LinePage struct {
	Lines []Line
	// After continues behind the page. With a State the page may be shorter
	// than requested, even empty, while More is true, because a request reads a
	// bounded part of the batch.
	After int
	More  bool
}

// LineDetail is one line with its request and its result.
type LineDetail struct {
	Line
	Input  []byte // line of the input file; nil when that is gone
	Result []byte // line of the output or error file; nil while there is none
}

// pager collects a page.
type pager struct {
	query LineQuery
	page  LinePage
	reads int // of slices
}

// sliceReads limits the slices that are read for one page.
const sliceReads = 32

// full reports whether no more slices are read.
func (p *pager) full() bool { return len(p.page.Lines) >= p.query.Limit || p.reads >= sliceReads }

// wants reports whether a slice has lines of the requested state.
func (p *pager) wants(pending, completed, failed bool) bool {
	switch p.query.State {
	case LinePending:
		return pending
	case LineCompleted:
		return completed
	case LineFailed:
		return failed
	default:
		return true
	}
}

// skip passes over a slice without a requested line.
func (p *pager) skip(s batch.SlicePlan) { p.page.After = max(p.page.After, s.FirstLine+s.Lines) }

// take adds a line, in order, and reports whether the next may be added.
func (p *pager) take(l Line) bool {
	if l.Number <= p.query.After {
		return true
	}
	if len(p.page.Lines) >= p.query.Limit {
		return false
	}
	p.page.After = l.Number
	if p.query.State == "" || p.query.State == l.State {
		p.page.Lines = append(p.page.Lines, l)
	}
	return true
}

// messageFor is the Message of a line.
func messageFor(failed bool, h openai.ResultHead) string {
	if !failed {
		return ""
	}
	return batch.ErrorMessage(h)
}

// lineOf makes a Line of a result that is not in a file yet.
func lineOf(r batch.LineResult, number int) Line {
	head := openai.ScanResult(r.Record)
	l := Line{
		Number: number, CustomID: head.CustomID, State: LineCompleted, Status: head.Status,
		Message: messageFor(r.Failed, head), Usage: r.Usage, LineInfo: r.LineInfo,
	}
	if r.Failed {
		l.State = LineFailed
	}
	l.Duration = l.Duration.Truncate(time.Millisecond)
	return l
}
