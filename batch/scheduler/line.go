package scheduler

import (
	"context"

	"github.com/tidegate/tidegate/access/limits"
	"github.com/tidegate/tidegate/batch"
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
	model   string
	request *openai.Request // nil if it is deferred, or not sent any more
	at      batch.LinePlace // where it is read from
	size    int32           // of the body of its request
	counted int32           // bytes of memory, until it is durable
	read    int32           // bytes that the attempt reads, while it runs
	tokens  int32           // that all of its answers may generate; 0: no limit
	index   uint8           // in its slice
	state   lineState

	arriving *arriving // nil when it is in the order
	profile  order.Profile
	expected float32   // tokens, when it was taken
	attempts *attempts // nil before the first
}

// arriving has the parts of a line that its place in the order depends on.
type arriving struct {
	prompt order.Key
	limit  int // of tokens that an answer may have; 0: none
}

// attempts has the state of the attempts at a line.
type attempts struct {
	abort    context.CancelFunc // of the one that runs
	grant    *limits.Grant      // likewise; nil without limits
	failures int32              // that were temporary
	timeouts int32
	excused  int32  // failures of upstreams for reasons of their own
	crashes  int32  // attempts during which the upstream went down
	avoid    string // upstream of the last failure
}

// newLine returns a line of a slice. It may run beside the loop.
func newLine(w *work, index int, request openai.Request) *line {
	l := deferredLine(w, index, &request)
	l.request, l.counted = &request, l.size
	return l
}

// deferredLine returns a line whose request is not kept.
func deferredLine(w *work, index int, request *openai.Request) *line {
	limit, tokens := openai.OutputLimits(request.Body)
	return &line{
		work: w, index: uint8(index), model: request.Model, size: int32(len(request.Body)), tokens: int32(tokens),
		counted: deferredBytes, arriving: &arriving{promptKey(request.Body), limit},
	}
}

// become changes the state of a line, and what its slice counts. The failures of a line may
// change only while it is under way.
func (l *line) become(state lineState) {
	w := l.work
	w.tally(l, -1)
	l.state = state
	w.tally(l, 1)
	w.batchQueue.classify(w)
}

// tries returns the attempts at a line.
func (l *line) tries() *attempts {
	if l.attempts == nil {
		l.attempts = new(attempts)
	}
	return l.attempts
}

// deferred reports whether the request of a line is read by each attempt.
func (l *line) deferred() bool { return l.request == nil }

// holds returns the memory of a line, without its request if it is deferred.
func (l *line) holds() holding {
	if l.deferred() {
		return holding{keys: int64(l.counted)}
	}
	return holding{requests: int64(l.counted)}
}

// reads returns the bytes that an attempt at a line reads.
func (l *line) reads() int64 {
	if l.deferred() {
		return int64(l.size)
	}
	return 0
}

// lane decides whether a line can start: its model needs a free slot, and of suspicious
// lines one runs at a time.
type lane struct {
	model   string
	suspect bool
}

func (l *line) lane() lane { return lane{l.model, l.suspicious()} }

// suspicious reports whether a line runs alone among suspicious lines, so that its next
// crash is not blamed on others.
func (l *line) suspicious() bool { return l.attempts != nil && l.attempts.crashes >= crashLimit-1 }

// underWay reports whether a line was sent and is not durable.
func (l *line) underWay() bool { return l.state == lineRunning || l.state == lineFinished }

// tried reports whether a line was sent, or waits for its retry.
func (l *line) tried() bool {
	a := l.attempts
	return l.underWay() || l.state == lineBackoff || l.state != lineEnded && a != nil && a.failures+a.timeouts+a.crashes > 0
}
