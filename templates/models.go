package templates

import (
	"fmt"
	"time"

	"github.com/a-h/templ"
)

// Problem is a problem and its remedy.
type Problem struct {
	Severity             string // "failing" or "warning"
	What, Detail, Remedy string
	Since                time.Time
	URL                  templ.SafeURL // of a page about it, "" for none
}

// Pages are the links to other pages of a list.
type Pages struct {
	What                  string // the contents of the list
	First, Previous, Next templ.SafeURL
}

// Estimate is an estimated duration.
type Estimate struct {
	Known     bool
	Low, High time.Duration
	Why       string // it is not known
}

// Text formats the estimate.
func (e Estimate) Text() string {
	if !e.Known {
		return "not known"
	}
	low, high := roughly(e.Low), roughly(e.High)
	switch {
	case low != high:
		return low + " – " + high
	case e.High < time.Minute:
		return high
	default:
		return "~" + high
	}
}

// ProgressBar is the progress of a batch in lines.
type ProgressBar struct{ Total, Completed, Failed, InFlight int64 }

type barPart struct{ x, width, tone string }

func (p ProgressBar) label() string {
	if p.Total == 0 {
		return "not counted yet"
	}
	return fmt.Sprintf("%s of %s done: %s completed, %s failed; %s in flight", Percent(p.Share()), Count(p.Total), Count(p.Completed), Count(p.Failed), Count(p.InFlight))
}

// Share returns the completed share of the lines.
func (p ProgressBar) Share() float64 { return Share(p.Completed+p.Failed, p.Total) }

func (p ProgressBar) percent() string {
	if p.Total == 0 {
		return "–"
	}
	return Percent(p.Share())
}

func (p ProgressBar) parts() []barPart {
	if p.Total == 0 {
		return nil
	}
	var all []barPart
	x := 0.
	for _, part := range []struct {
		n    int64
		tone string
	}{{p.Completed, "good"}, {p.Failed, "bad"}, {p.InFlight, "running"}} {
		if part.n <= 0 {
			continue
		}
		width := min(100-x, max(.4, Share(part.n, p.Total)*100))
		all = append(all, barPart{percent(x), percent(width), part.tone})
		x += width
	}
	return all
}

func gaugeTone(share float64) string {
	if share >= .95 {
		return "tone-warn"
	}
	return "tone-plain"
}
