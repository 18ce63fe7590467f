package scheduler

import (
	"context"

	"github.com/tidegate/tidegate/access/limits"
	"github.com/tidegate/tidegate/batch/scheduler/order"
	"github.com/tidegate/tidegate/internal/openai"
)

// lineState is where a line is on its way through the scheduler.
type lineState uint8

const (
	linePending  lineState = iota // can start
	lineRunning                   // has a slot
	lineBackoff                   // waits for its retry
	lineFinished                  // has a result that is not durable
	lineEnded                     // is durable, or released
)

// line is one request of a batch in memory. It belongs to the loop.
type line struct {
	work    *work
	index   int // in its slice
	request openai.Request
	prompt  order.Key // until it is in the order
	limit   int       // of tokens that it may generate, likewise; 0: none
	profile order.Profile

	expected float64 // tokens, when it was taken

	state    lineState
	abort    context.CancelFunc // while it runs
	failures int32              // attempts with a temporary failure
	timeouts int32
	excused  int32  // failures of upstreams for reasons of their own
	crashes  int32  // attempts during which the upstream went down
	avoid    string // upstream of the last failure

	grant *limits.Grant // of the attempt that runs; nil without limits
}

// newLine returns a line of a slice. It may run beside the loop.
func newLine(w *work, index int, request openai.Request) *line {
	return &line{work: w, index: index, request: request, prompt: promptKey(request.Body), limit: openai.OutputLimit(request.Body)}
}

// lane decides whether a line can start: its model needs a free slot, and of suspicious
// lines one runs at a time.
type lane struct {
	model   string
	suspect bool
}

func (l *line) lane() lane { return lane{l.request.Model, l.suspicious()} }

// suspicious reports whether a line runs alone among suspicious lines, so that its next
// crash is not blamed on others.
func (l *line) suspicious() bool { return l.crashes >= crashLimit-1 }

// underWay reports whether a line was sent and is not durable.
func (l *line) underWay() bool { return l.state == lineRunning || l.state == lineFinished }

// tried reports whether a line was sent, or waits for its retry.
func (l *line) tried() bool {
	return l.underWay() || l.state == lineBackoff || l.failures+l.timeouts+l.crashes > 0
}
