package scheduler

import (
	"cmp"
	"time"

	"github.com/tidegate/tidegate/batch"
	"github.com/tidegate/tidegate/batch/scheduler/order"
)

// batchQueue holds the slices and lines of one batch that are in memory. Only the loop
// uses it.
type batchQueue struct {
	batch    batch.Batch
	inputKey string // of the input file's content, once known
	state    queueState

	pending    map[lane]*order.Queue[*line] // lines that can start; none of the queues is empty
	orders     map[lane]*order.Queue[*line] // these, and those that were in pending before
	nPending   int
	running    int                // lines that have a slot
	runningOn  map[seat]running   // these by model and upstream
	runningOf  map[string]int64   // of these by model, for a batch of several models; nil before the first
	waiting    map[seat]time.Time // since when upstreams leave lines to others, see fit.waits
	backingOff int                // lines that wait for their retry
	left       int64              // lines in memory without a durable result
	work       map[claimKey]*work
	releasable [slicesDivisible + 1]int // these by the part that can be released
	unread     []claimed                // not read because the memory limit is reached

	loading       bool      // a load is in progress
	startedAt     time.Time // when a line started last
	exhausted     bool      // the last load found nothing to claim
	lapsedChecked time.Time // when slices of ended leases were last searched
	loads         int       // slices loaded in this turn
	slicesRead    int64     // since the batch queue was made
	linesRead     int64     // likewise
	bytesRead     int64     // of the requests of these lines
	deferring     bool      // requests of lines that wait are not kept
	held          holding   // memory of its lines
	outage        inputOutage
	noRoom        bool // a line did not start in the last round, because its request does not fit into memory

	peersIdle condition // other gateways have free slots for its model
	stalled   condition // lines wait, none runs and none can start
	pace      pace
}

// queueState is the state of a batch queue. A batch without a batch queue is not served: it
// waits in the rotation, or is paused and has no line in memory.
type queueState uint8

const (
	serving        queueState = iota // starts lines and loads slices
	retiring                         // its turn is over: starts the lines in memory and loads no slices
	paused                           // starts no line
	pausedRetiring                   // was paused when its turn was over
)

// pause stops the start of lines.
func (q *batchQueue) pause() {
	switch q.state {
	case serving:
		q.state = paused
	case retiring:
		q.state = pausedRetiring
	case paused, pausedRetiring:
	}
}

// resume ends a pause.
func (q *batchQueue) resume() {
	switch q.state {
	case paused:
		q.state = serving
	case pausedRetiring:
		q.state = retiring
	case serving, retiring:
	}
}

// retire ends the turn of a batch queue that is not paused.
func (q *batchQueue) retire() { q.state = retiring }

// serve begins another turn of a batch queue that is not paused.
func (q *batchQueue) serve() { q.state, q.loads = serving, 0 }

func (q *batchQueue) isPaused() bool { return q.state == paused || q.state == pausedRetiring }

func (q *batchQueue) isRetiring() bool { return q.state == retiring || q.state == pausedRetiring }

// claimed is a slice that this gateway owns until its lease ends.
type claimed struct {
	batch.Slice
	until time.Time // by the clock of this machine, and not after that of the store
}

// adds returns the bytes of memory that a slice takes at most once it is read, and whether its
// requests are deferred.
func (c *claimed) adds(deferring bool) (bytes int64, deferred bool) {
	if lines := deferredBytes * int64(c.Lines); deferring && 2*lines <= c.Length {
		return lines, true
	}
	return c.Length, false
}

// claimKey is a claim on a slice of a batch. A slice of which this gateway keeps lines can be
// claimed again.
type claimKey struct{ number, attempt int }

func keyOf(c batch.SliceClaim) claimKey { return claimKey{c.Number, c.Attempt} }

func (k claimKey) compare(other claimKey) int {
	return cmp.Or(cmp.Compare(k.number, other.number), cmp.Compare(k.attempt, other.attempt))
}

// work is a claimed slice whose lines are in memory.
type work struct {
	claimed
	batchQueue *batchQueue
	lines      []*line // those without a result when it was claimed, except those that a peer kept
	left       int     // of lines, without a durable result
	dropped    bool    // the claim is lost or given up: results are refused
	partial    bool    // only its lines are claimed; the others of the slice were released

	// The lines that have not ended are tried or untried, see line.tried and line.become:
	tried, untried int
	pending        int // of these, lines that can start
	underWay       int // see line.underWay
	releasable     releasable
}

// releasable is the part of a slice that can be released for others.
type releasable uint8

const (
	slicesKept      releasable = iota // nothing
	slicesUntried                     // all: no line was tried
	slicesDivisible                   // all but the lines that were tried
)

// tally adds n, which may be negative, to the counts of a line's state.
func (w *work) tally(l *line, n int) {
	switch {
	case l.state == lineEnded:
		return
	case l.tried():
		w.tried += n
	default:
		w.untried += n
	}
	if l.state == linePending {
		w.pending += n
	}
	if l.underWay() {
		w.underWay += n
	}
}

// classify finds out which part of a slice can be released.
func (q *batchQueue) classify(w *work) {
	now := slicesKept
	switch {
	case w.dropped:
	case w.tried == 0:
		now = slicesUntried
	case w.untried > 0 && !w.partial && w.Kept == 0:
		now = slicesDivisible
	}
	q.releasable[w.releasable]--
	q.releasable[now]++
	w.releasable = now
}

func newBatchQueue(b batch.Batch) *batchQueue {
	return &batchQueue{
		batch: b, pending: make(map[lane]*order.Queue[*line]), orders: make(map[lane]*order.Queue[*line]), work: make(map[claimKey]*work),
		runningOn: make(map[seat]running),
	}
}

// begin adds n, which may be negative, to the lines of a model that have a slot.
func (q *batchQueue) begin(model string, n int) {
	q.running += n
	if q.batch.Model != "" {
		return
	}
	if q.runningOf == nil {
		q.runningOf = make(map[string]int64)
	}
	if q.runningOf[model] += int64(n); q.runningOf[model] == 0 {
		delete(q.runningOf, model)
	}
}

// running is the lines that run on an upstream, and the tokens that they are expected to
// generate.
type running struct {
	lines  int
	tokens float64
}

// runOn adds lines and their expected tokens, which may be negative, to those that run on an
// upstream.
func (q *batchQueue) runOn(at seat, lines int, tokens float64) {
	r := q.runningOn[at]
	r.lines += lines
	r.tokens += tokens
	if r.lines <= 0 {
		delete(q.runningOn, at)
		return
	}
	q.runningOn[at] = r
}

// push adds a line that was read and can start.
func (q *batchQueue) push(l *line) {
	l.profile = q.orderOf(l).Add(l, l.arriving.prompt, l.arriving.limit)
	l.arriving = nil
}

// pushFront puts back a line that can start before the others.
func (q *batchQueue) pushFront(l *line) { q.orderOf(l).PutFirst(l) }

// pushBack puts back a line that can start after the others.
func (q *batchQueue) pushBack(l *line) { q.orderOf(l).PutLast(l) }

// orderOf returns the queue of the lane to which a line is added now.
func (q *batchQueue) orderOf(l *line) *order.Queue[*line] {
	l.become(linePending)
	q.nPending++
	lane := l.lane()
	lines := q.orders[lane]
	if lines == nil {
		lines = new(order.Queue[*line])
		q.orders[lane] = lines
	}
	q.pending[lane] = lines
	return lines
}

// peek returns the next line of a lane; nil if that depends on the upstream.
func (q *batchQueue) peek(lane lane) *line {
	l, _ := q.pending[lane].Peek()
	return l
}

// pop removes the line of a lane that an upstream gets next and returns it.
func (q *batchQueue) pop(lane lane, upstream order.Server) *line {
	lines := q.pending[lane]
	l := lines.Take(upstream)
	l.expected = float32(lines.Expected(l.profile))
	q.removed(lane, 1)
	return l
}

// removed counts lines that were removed from a lane.
func (q *batchQueue) removed(lane lane, lines int) {
	q.nPending -= lines
	if q.pending[lane].Len() == 0 {
		delete(q.pending, lane)
	}
}

// backOff makes a line wait for its retry.
func (q *batchQueue) backOff(l *line) {
	l.become(lineBackoff)
	q.backingOff++
}

// retry makes a line whose backoff is over wait for its start: before the others, or
// after them if its upstream failed for a reason of its own, so that each trial of a
// suspect upstream is another line's.
func (q *batchQueue) retry(l *line, excused bool) {
	switch {
	case l.state != lineBackoff: // withdrawn since
		return
	case excused:
		q.pushBack(l)
	default:
		q.pushFront(l)
	}
	q.backingOff--
}

// withdraw ends lines of the batch that wait for their start or their retry. sweep must
// follow, once for all lines: it goes through all that wait.
func (q *batchQueue) withdraw(lines []*line) {
	for _, l := range lines {
		if l.state == lineBackoff {
			q.backingOff--
		}
		if l.state == lineBackoff || l.state == linePending {
			l.become(lineEnded)
		}
	}
}

// sweep removes lines that were withdrawn from those that can start.
func (q *batchQueue) sweep() {
	for lane, lines := range q.pending {
		before := lines.Len()
		lines.Filter(func(l *line) bool { return l.state == linePending })
		q.removed(lane, before-lines.Len())
	}
}

// allRuns reports whether all lines that are left of the batch run, as far as is known.
// The batch queue then does not use its place.
func (q *batchQueue) allRuns() bool {
	return q.exhausted && !q.loading && q.nPending+q.backingOff == 0 && len(q.unread) == 0
}

// empty reports whether nothing of the batch is in memory.
func (q *batchQueue) empty() bool { return len(q.work) == 0 && len(q.unread) == 0 && !q.loading }

// lacks reports whether a batch queue can read nothing into free bytes. It always reads a slice
// if it has none.
func (q *batchQueue) lacks(free int64) bool {
	if len(q.work) == 0 || free > 0 && len(q.unread) == 0 {
		return false
	}
	if free <= 0 {
		return true
	}
	adds, _ := q.unread[0].adds(q.deferring)
	return free < adds
}

// holds returns the memory of the lines of a slice, without deferred requests of lines that run.
func (w *work) holds() (h holding) {
	for _, l := range w.lines {
		h = h.plus(l.holds())
	}
	return h
}

// size returns the bytes of the requests of the lines of a slice.
func (w *work) size() (bytes int64) {
	for _, l := range w.lines {
		bytes += int64(l.size)
	}
	return bytes
}
