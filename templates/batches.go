package templates

import (
	"time"
	"unicode/utf8"

	"github.com/a-h/templ"
)

// BatchRow is a batch in a list.
type BatchRow struct {
	ID, InputName, Model      string
	State                     string // with "paused" for those that are
	Reason                    string // why it failed, ended early or does not progress
	Bar                       ProgressBar
	Rate                      float64 // lines per second
	Remaining                 Estimate
	Misses                    bool // it will miss its deadline
	Created, Deadline         time.Time
	Took                      time.Duration // from creation to end, or to now; 0: not known
	Over                      bool
	InputTokens, OutputTokens int64
	Priority                  int
	Tenant                    string // in the list of all tenants
	Foreign                   bool   // it is not the tenant of the page
}

// Name returns the displayed name of the batch.
func (b BatchRow) Name() string {
	if b.InputName != "" {
		return b.InputName
	}
	return b.ID
}

// Short returns the end of its id, which distinguishes batches of one name.
func (b BatchRow) Short() string {
	if len(b.ID) <= 8 {
		return b.ID
	}
	return "…" + b.ID[len(b.ID)-8:]
}

// BatchList is the model of the list of batches.
type BatchList struct {
	Filter BatchFilter
	Models []string
	Rows   []BatchRow
	Pages  Pages
	// Here is the path of this list with its query.
	Here string
	// ByState and ByAge link to this list in other orders.
	ByState, ByAge templ.SafeURL
	Actions        []BulkAction
}

// BulkAction is a button that acts on all selected batches.
type BulkAction struct {
	Name, Button string
	Danger       bool
}

// Bulk is the model of the page that asks for confirmation of an action on several
// batches, or shows its results.
type Bulk struct {
	Title  string
	Text   []string
	Rows   []BulkRow
	Action string // name of the action to confirm, "" when it was done
	Button string
	Danger bool
	Back   templ.SafeURL
	Here   string // the path of Back
	Able   int    // rows that the action is allowed for, or was done for
	// Option is the name of a checkbox, "" for none.
	Option, OptionText string
}

// BulkRow is one of the batches of an action.
type BulkRow struct {
	ID, Name, State string
	OK              bool   // it is allowed, or done
	Text            string // what it would do or did, or why it is not allowed
	Made            string // id of a batch that was created by it
}

// BatchFilter contains the reader's filters.
type BatchFilter struct {
	State, Model, Text, From, To string
	Order                        string // "" for the newest first
	All                          bool   // of all tenants, for administrators
	Wrong                        string // error of the filter
}

// AllTenants is the value of the filter for the batches of all tenants.
const AllTenants = "all"

// Any reports whether the list is filtered.
func (f BatchFilter) Any() bool {
	return f.All || f.State != "" || f.Model != "" || f.Text != "" || f.From != "" || f.To != ""
}

// ageSort returns the value of aria-sort of the column of creation.
func (f BatchFilter) ageSort() string {
	switch f.Order {
	case "":
		return "descending"
	case "oldest":
		return "ascending"
	default:
		return "none"
	}
}

// BatchOrders are the orders of the list and their names.
var BatchOrders = []Pair{{"", "newest first"}, {"oldest", "oldest first"}, {"state", "by state"}}

// BatchStates are the states to filter by.
var BatchStates = []string{"active", "paused", "validating", "in_progress", "finalizing", "completed", "failed", "expired", "cancelling", "cancelled"}

// Batch is the model of a batch's page.
type Batch struct {
	BatchRow
	Endpoint, Window         string
	Input, Output, Errors    FileLink
	Metadata                 []Pair
	Timeline                 []Stage
	Charts                   []Chart
	Findings                 []Finding
	Groups                   []ErrorGroup
	GroupsLeft               int   // groups that are not shown
	LinesLeft                int64 // failed lines that are in no group
	RetryOf, RetriedBy       string
	CachedTokens, Reasoning  int64
	Cost                     string // with its currency; "" without prices
	Unpriced                 int64  // lines of unknown cost
	CanCancel, CanDelete     bool
	CanRetry, CanControl     bool // CanControl: pause, resume, priority
	Paused                   bool
	PauseReason              string // why the gateway paused it
	MinPriority, MaxPriority int
}

// FileLink is a file of a batch.
type FileLink struct {
	ID    string
	Bytes int64
}

// Pair is a name and a value.
type Pair struct{ Name, Value string }

// Stage is a state in the history of a batch.
type Stage struct {
	State string
	At    time.Time
	After time.Duration // since the previous stage; 0 for the first
	Now   bool          // the current stage
}

// Finding is a problem in a line of a file.
type Finding struct {
	Line                 int // 0: none
	Code, Param, Message string
}

// ErrorGroup is a group of failed lines with the same message.
type ErrorGroup struct {
	Code, Message string
	Lines         int64
	Share         float64 // of all failed lines
	Examples      []ErrorExample
}

// ErrorExample is a line of a group.
type ErrorExample struct {
	Number            int
	CustomID, Message string
}

// Lines is the model of a batch's lines.
type Lines struct {
	Batch BatchRow
	State string // that are shown, "" for all
	After int    // the number of the line before the first
	Rows  []Line
	More  bool
	Next  int // the number of the line before the next page
	Pages Pages
}

// LineStates are the states to filter by.
var LineStates = []string{"waiting", "completed", "failed"}

// Line is a line in a list.
type Line struct {
	Number                    int
	CustomID, State, Error    string
	Status, Attempts          int
	Upstream                  string
	UpstreamPage              templ.SafeURL
	Duration                  time.Duration
	InputTokens, OutputTokens int64
}

// took returns how long its answer took, in milliseconds resolution.
func (l Line) took() string {
	if l.Status > 0 && l.Duration < time.Millisecond {
		return "<1 ms"
	}
	return Brief(l.Duration)
}

// LineDetail is the model of a line's page.
type LineDetail struct {
	Batch BatchRow
	Line
	Input, Result           string
	InputCut, ResultCut     bool
	InputBytes, ResultBytes int64
	Before, After           int // numbers of its neighbours, 0 for none
	Prompt, Answer          []Message
}

// Message is a part of a request or of an answer.
type Message struct {
	Role, Text string // Role: "user", "assistant", "reasoning", "prompt", …
	Cut        bool   // the text is longer
}

// How much of a message is shown unfolded.
const (
	shortMessage      = 1500 // bytes
	shortMessageLines = 20
)

// fold returns the beginning of a text and the rest, which is folded.
func (m Message) fold() (begin, rest string) {
	end := len(m.Text)
	if end > shortMessage*5/4 { // a short rest is not worth it
		end = shortMessage
		for !utf8.RuneStart(m.Text[end]) {
			end--
		}
	}
	lines := 0
	for i := range end {
		if m.Text[i] != '\n' {
			continue
		}
		if lines++; lines == shortMessageLines {
			end = i + 1
			break
		}
	}
	return m.Text[:end], m.Text[end:]
}
