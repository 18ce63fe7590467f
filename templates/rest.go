package templates

import (
	"time"

	"github.com/a-h/templ"
)

// Confirmation is the model of a page that asks for confirmation.
type Confirmation struct {
	Title, Subject string // Subject: the name of the affected object
	Text           []string
	Button         string
	Danger         bool // something is destroyed
	Action, Back   templ.SafeURL
	// Option is the name of a checkbox, "" for none.
	Option, OptionText string
	// Choice is the name of a list of choices with their texts, "" for none.
	Choice, ChoiceText string
	Choices            []Pair
}

// NewBatch is the model of the page that creates a batch.
type NewBatch struct {
	MaxBytes                 int64
	Models                   []string    // that servers have, for a sample
	Found                    *Inspection // nil before there is a file
	Endpoints                []string
	Windows                  []Window
	MinPriority, MaxPriority int
}

// Window is a completion window.
type Window struct {
	Value, Name string
	Chosen      bool
}

// Inspection is the result of checking a file of requests.
type Inspection struct {
	FileID, Filename, Endpoint string
	Bytes, Lines               int64
	Models                     []ModelLines
	Findings                   []Finding
	FindingsTotal              int
	InputTokens, OutputTokens  int64 // estimates, 0: not known
	Duration                   Estimate
	Basis                      string
}

// ModelLines is the number of lines for a model.
type ModelLines struct {
	Model  string
	Lines  int64
	Served bool
}

// FileList is the model of the page of files.
type FileList struct {
	Purpose  string // that are shown, "" for all
	Text     string // in names or ids
	Purposes []string
	Rows     []FileRow
	Pages    Pages
	Space    Space
}

// FileRow is a file in a list.
type FileRow struct {
	ID, Filename, Purpose string
	Bytes                 int64
	Created, Expires      time.Time
	UsedBy                []string // ids of batches
	UsedMore              int
	Needed                bool
}

// Space is the disk usage of the file store, in bytes.
type Space struct {
	Files, Bytes         int64
	ByPurpose            []PurposeSpace
	Largest              []FileRow
	Total, Free, Reserve int64
}

// PurposeSpace is the disk usage of files with one purpose.
type PurposeSpace struct {
	Purpose      string
	Files, Bytes int64
	Share        float64
}

// Upstream is the model of a server's page.
type Upstream struct {
	UpstreamRow
	Key                   string
	Weight                float64
	MaxModelLen           int64
	Requests, AllFailures int64 // since it was configured
	OnlyOneFor            []string
	PrefixHits            []PrefixHits // by model, where known
	Charts                []Chart
	Errors                []UpstreamError
}

// PrefixHits are the parts of the prompts of a model, 0 to 1, that are in the prefix
// cache of a server.
type PrefixHits struct {
	Model       string
	Live, Batch float64
}

// UpstreamError is a request that failed on a server.
type UpstreamError struct {
	At                     time.Time
	Class, Endpoint, Model string
	Status                 int // 0: no answer
	Message                string
}

// Doctor is the model of the page of checks.
type Doctor struct {
	At                               time.Time
	Areas                            []CheckArea
	Passed, Doubted, Failed, Unknown int
}

// CheckArea contains the checks of one area.
type CheckArea struct {
	Name   string
	Checks []Check
}

// shownPassed limits the passed checks of an area that are shown unfolded.
const shownPassed = 6

// folded returns the checks to show and those to fold: many passed checks would hide
// the others.
func (a CheckArea) folded() (open, passed []Check) {
	for _, c := range a.Checks {
		if c.Verdict == "ok" {
			passed = append(passed, c)
		} else {
			open = append(open, c)
		}
	}
	if len(passed) <= shownPassed {
		return a.Checks, nil
	}
	return open, passed
}

// Check is the result of one check.
type Check struct{ Name, Verdict, Found, Remedy string }
