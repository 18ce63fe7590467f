package scheduler

import (
	"context"
	"time"

	"github.com/tidegate/tidegate/batch"
	"github.com/tidegate/tidegate/internal/openai"
)

// Deferred requests: of a batch whose lines share prefixes, the gateway orders
// more lines than their requests fit into memory. Of such lines it has only what the order
// needs, and the goroutine of each attempt reads the request again. If that fails, the line
// goes back, and nothing of the batch starts for a while. Then single lines are tried until
// one can be read.

const (
	// deferredBytes is the memory of a line whose request is not in memory, its place in the
	// order included.
	deferredBytes = 288
	// deferredTimeout limits the time for which a slot waits for the request of its line.
	deferredTimeout = 15 * time.Second
)

// lineInput is where an attempt reads its request.
type lineInput struct {
	files    batch.Files
	key      string
	at       batch.LinePlace
	readable func() // called if the request was read; may be nil
}

// read returns the request.
func (i *lineInput) read(ctx context.Context, endpoint string) (openai.Request, error) {
	ctx, cancel := context.WithTimeout(ctx, deferredTimeout)
	defer cancel()
	request, err := batch.ReadRequest(ctx, i.files, endpoint, i.key, i.at)
	if err == nil && i.readable != nil {
		i.readable()
	}
	return request, err
}

// deferWindow finds out whether the requests of a window of a number of lines fit into room
// bytes. If they do not, none of lines that wait stays in memory: lines that run need it more.
func (s *queueSet) deferWindow(q *batchQueue, window int, room int64) {
	before := q.deferring
	if q.deferring = int64(window)*q.bytesRead > room*q.linesRead; !q.deferring || before {
		return
	}
	for _, w := range q.work {
		for _, l := range w.lines {
			if !l.underWay() && l.counted > deferredBytes {
				s.keep(l, deferredBytes)
			}
		}
	}
}

// willRead returns how many bytes the next line of a batch is expected to read: a line that is
// taken for an upstream and put back may go to another one.
func (q *batchQueue) willRead() int64 {
	if !q.deferring {
		return 0
	}
	return q.bytesRead / q.linesRead
}

// inputOutage is the time in which requests of a batch cannot be read from the input.
type inputOutage struct {
	err   error // of the last read; nil if there is no outage
	until time.Time
	trial *line // that is being read meanwhile
}

// holds reports whether no line starts now.
func (o *inputOutage) holds(now time.Time) bool {
	return o.err != nil && (now.Before(o.until) || o.trial != nil)
}

// begins records that a line starts, and reports whether it is a trial.
func (o *inputOutage) begins(l *line) bool {
	if o.err == nil || !l.deferred() {
		return false
	}
	o.trial = l
	return true
}

// ended records that an attempt has ended.
func (o *inputOutage) ended(l *line) {
	if o.trial == l {
		o.trial = nil
	}
}

// inputUnreadable handles a request that could not be read.
func (s *Scheduler) inputUnreadable(q *batchQueue, err error) {
	q.outage.err, q.outage.until = err, time.Now().Add(batchBackoff)
	s.deadlines.at(q.outage.until, nil)
	s.noteInput(q)
}

// inputReadable handles a request that was read in an outage.
func (s *Scheduler) inputReadable(q *batchQueue) {
	q.outage = inputOutage{}
	s.noteInput(q)
}

// noteInput reports whether the input of a batch can be read, unless the batch has ended.
func (s *Scheduler) noteInput(q *batchQueue) {
	if s.queues.byID[q.batch.ID] == q {
		s.deps.Health.NoteBatch(q.batch.ID, q.batch.Tenant, q.outage.err)
	}
}
