package scheduler

import (
	"context"
	"errors"
	"fmt"
	"math/bits"
	"time"

	"github.com/cespare/xxhash/v2"

	"github.com/tidegate/tidegate/batch"
	"github.com/tidegate/tidegate/batch/scheduler/order"
	"github.com/tidegate/tidegate/internal/openai"
)

// batchQueue is what the scheduler has in memory of one batch. Only the scheduler's loop
// touches it.
type batchQueue struct {
	batch    batch.Batch
	inputKey string // of the input file's content, once known

	pending    map[lane]*order.Queue[*line] // lines that may start; none of them is empty
	orders     map[lane]*order.Queue[*line] // these, and those that were in pending before
	nPending   int
	running    int              // lines that have a slot
	runningOf  map[string]int64 // of these by model, where the batch names several; nil before the first
	backingOff int              // lines that wait for their retry
	work       map[int]*work
	unread     []claimed // not read because the memory limit is reached

	loading              bool      // a load is under way
	looked               time.Time // for lapsed slices
	loads                int       // slices loaded since the batch queue was made
	linesRead, bytesRead int64     // lines that were read, and the size of their requests
	spent                bool      // the last load found nothing to claim
	retiring             bool      // has had its turn; others wait
	paused               bool      // nothing more of it is started
	idle                 time.Time // since when other gateways could run more of it; zero: they could not
	done                 int       // lines that were committed since paced
	paced                time.Time
	pace                 float64   // lines per second, before that
	stalled              time.Time // since when nothing of it can start; zero: it can, or some of it runs
}

// begin counts n lines of a model that have a slot from now on, or no more.
func (f *batchQueue) begin(model string, n int) {
	f.running += n
	if f.batch.Model != "" {
		return
	}
	if f.runningOf == nil {
		f.runningOf = make(map[string]int64)
	}
	if f.runningOf[model] += int64(n); f.runningOf[model] == 0 {
		delete(f.runningOf, model)
	}
}

// lane is what decides whether a line can start now: its model needs a free
// slot, and of suspicious lines one runs at a time.
type lane struct {
	model   string
	suspect bool
}

// claimed is a slice that is ours until its lease ends.
type claimed struct {
	batch.Slice
	until time.Time // by this machine's clock, and not after the store's
}

// work is a claimed slice in memory.
type work struct {
	claimed
	batchQueue *batchQueue
	lines      []*line // those without a result when it was claimed, and not kept by others
	left       int     // of lines, without a durable result
	bytes      int64   // of input held for its lines, as long as they are not durable
	dropped    bool    // no longer ours: results are worth nothing
	partial    bool    // only its lines are still ours, the rest of the slice is not
}

// lineState is where a line is on its way through the scheduler.
type lineState uint8

const (
	linePending  lineState = iota // may start
	lineRunning                   // has a slot
	lineBackoff                   // waits for its retry
	lineFinished                  // has a result, not yet durable
	lineEnded                     // is durable, or given up
)

// line is a line on its way.
type line struct {
	work    *work
	index   int // in its slice
	request openai.Request

	state    lineState
	abort    context.CancelFunc // while it runs
	failures int                // attempts that failed in a way that may pass
	timeouts int
	excused  int    // failures of upstreams for reasons of their own
	crashes  int    // attempts that took their upstream down
	avoid    string // upstream of the last failure
}

func newBatchQueue(b batch.Batch) *batchQueue {
	return &batchQueue{batch: b, pending: make(map[lane]*order.Queue[*line]), orders: make(map[lane]*order.Queue[*line]), work: make(map[int]*work)}
}

// push adds a line that was read and may start.
func (f *batchQueue) push(l *line) {
	f.lane(l).Add(l, promptOf(l.request.Body), openai.OutputLimit(l.request.Body))
}

// pushFront puts back a line that may start before the others.
func (f *batchQueue) pushFront(l *line) { f.lane(l).PutFirst(l) }

// pushBack puts back a line that may start after the others.
func (f *batchQueue) pushBack(l *line) { f.lane(l).PutLast(l) }

// lane returns the lane of a line that is added to it now.
func (f *batchQueue) lane(l *line) *order.Queue[*line] {
	l.state = linePending
	f.nPending++
	lane := l.lane()
	q := f.orders[lane]
	if q == nil {
		q = new(order.Queue[*line])
		f.orders[lane] = q
	}
	f.pending[lane] = q
	return q
}

// pop takes the line of a lane that a server gets next.
func (f *batchQueue) pop(lane lane, server string) *line {
	l := f.pending[lane].Take(server)
	f.removed(lane, 1)
	return l
}

// removed counts lines that were removed from a lane.
func (f *batchQueue) removed(lane lane, lines int) {
	f.nPending -= lines
	if f.pending[lane].Len() == 0 {
		delete(f.pending, lane)
	}
}

// promptOf returns what an engine reads of a request. Tools and instructions come first,
// and are the same ones in requests that share a prefix.
func promptOf(body []byte) order.Prompt {
	found := openai.FindPrompt(body)
	before, text := found.Parts[:len(found.Parts)-1], found.Parts[len(found.Parts)-1]
	p := order.Prompt{Text: text}
	hash := xxhash.New()
	for _, part := range append(before, found.Salt) {
		p.HeadBytes += len(part)
		hash.Write(part)
		hash.Write([]byte{0})
	}
	p.Head = hash.Sum64()
	return p
}

// allRuns reports whether all that is left of the batch, as far as is known, runs:
// the batch queue has no use for its place.
func (f *batchQueue) allRuns() bool {
	return f.spent && !f.loading && f.nPending+f.backingOff == 0 && len(f.unread) == 0
}

// empty reports whether nothing of the batch is in memory.
func (f *batchQueue) empty() bool { return len(f.work) == 0 && len(f.unread) == 0 && !f.loading }

// loaded is what a load brought.
type loaded struct {
	inputKey string
	work     []*work
	unread   []claimed
	found    bool // there was something to claim
	more     bool // there may be more that has lapsed
	err      error
	away     bool // it is the store that failed
}

// loadRequest says what a load is to bring.
type loadRequest struct {
	batch    batch.Batch
	inputKey string
	unread   []claimed
	slices   int   // how many to claim
	memory   int64 // bytes of input that may be read
	force    bool  // read one slice even over memory
	patient  bool  // claim nothing that others have, although their leases have ended
	lapsed   bool  // look for what others left lying, before the queue is asked
	only     bool  // look for nothing else
}

// readSlices claims slices of a batch and reads their lines. It runs beside the
// scheduler's loop and touches nothing of it.
func (r *Scheduler) readSlices(ctx context.Context, q loadRequest) loaded {
	out := loaded{inputKey: q.inputKey, unread: q.unread, found: len(q.unread) > 0}
	limit := storeTimeout
	if !q.patient {
		limit = min(limit, claimWait(r.deps.Config()))
	}
	bounded, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	if out.inputKey == "" {
		input, err := r.deps.Store.InputFile(bounded, q.batch.ID)
		if err != nil {
			out.err, out.away = fmt.Errorf("finding input file: %w", err), !errors.Is(err, batch.ErrNotFound)
			return out
		}
		out.inputKey = input.Key
	}
	if len(out.unread) == 0 {
		until := time.Now().Add(r.deps.Config().Lease)
		slices, more, err := r.claimFor(bounded, q)
		for _, s := range slices {
			out.unread = append(out.unread, claimed{s, until})
		}
		out.err, out.more, out.away = err, more, err != nil
		out.found = len(out.unread) > 0
	}
	for len(out.unread) > 0 {
		s := out.unread[0]
		if q.memory < s.Length && !q.force {
			break
		}
		w, err := r.readSlice(ctx, q.batch, out.inputKey, s)
		if err != nil {
			out.err = err
			break
		}
		q.memory -= s.Length
		q.force = false
		out.unread = out.unread[1:]
		out.work = append(out.work, w)
	}
	return out
}

// lapsedInterval is how often a batch queue looks for slices whose lease has ended: the
// queue has those of a gateway that died behind all that is new.
const lapsedInterval = 3 * time.Second

// claimFor claims what a load asks for. more says that there may be more that
// has lapsed.
func (r *Scheduler) claimFor(ctx context.Context, q loadRequest) (slices []batch.Slice, more bool, err error) {
	if q.lapsed {
		slices, err = r.claimLapsed(ctx, q)
		if err != nil || len(slices) > 0 || q.only {
			return slices, len(slices) == q.slices, err
		}
	}
	slices, err = r.claim(ctx, q)
	return slices, false, err
}

func (r *Scheduler) claimLapsed(ctx context.Context, q loadRequest) ([]batch.Slice, error) {
	numbers, err := r.deps.Store.LapsedSlices(ctx, q.batch.ID, q.slices)
	if err != nil {
		return nil, fmt.Errorf("looking for lapsed slices: %w", err)
	}
	if len(numbers) == 0 {
		return nil, nil
	}
	return r.claimNumbers(ctx, q, numbers)
}

// claim takes what the queue says and, when it says nothing, what the store
// knows: the queue may have forgotten.
func (r *Scheduler) claim(ctx context.Context, q loadRequest) ([]batch.Slice, error) {
	for {
		numbers, err := r.deps.Queue.Pop(ctx, q.batch.ID, q.slices)
		r.deps.NoteQueue(err)
		if len(numbers) == 0 {
			break
		}
		slices, err := r.claimNumbers(ctx, q, numbers)
		if err != nil || len(slices) > 0 {
			return slices, err
		}
		// All were taken or finished; what the queue has behind may not be.
	}
	numbers, err := r.deps.Store.ClaimableSlices(ctx, q.batch.ID, q.slices)
	if err != nil {
		return nil, fmt.Errorf("looking for slices: %w", err)
	}
	if len(numbers) == 0 {
		return nil, nil
	}
	return r.claimNumbers(ctx, q, numbers)
}

func (r *Scheduler) claimNumbers(ctx context.Context, q loadRequest, numbers []int) ([]batch.Slice, error) {
	refs := make([]batch.SliceRef, len(numbers))
	for i, n := range numbers {
		refs[i] = batch.SliceRef{BatchID: q.batch.ID, Number: n}
	}
	slices, err := r.deps.Store.ClaimSlices(ctx, batch.Claimant{Owner: r.deps.Owner, Lease: r.deps.Config().Lease, Patient: q.patient}, refs)
	if err != nil {
		return nil, fmt.Errorf("claiming slices: %w", err)
	}
	return slices, nil
}

// readSlice reads the undone lines of a slice.
func (r *Scheduler) readSlice(ctx context.Context, b batch.Batch, key string, s claimed) (*work, error) {
	requests, err := batch.ReadRequests(ctx, r.deps.Files, b.Endpoint, key, s.SlicePlan, r.deps.Config().MaxLineBytes)
	if err != nil {
		return nil, fmt.Errorf("reading slice %d of %s: %w", s.Number, b.ID, err)
	}
	taken := s.Done | s.Kept
	w := &work{claimed: s, left: s.Lines - bits.OnesCount64(taken)}
	w.lines = make([]*line, 0, w.left)
	for i, request := range requests {
		if taken&(1<<i) == 0 {
			w.lines = append(w.lines, &line{work: w, index: i, request: request})
			w.bytes += int64(len(request.Body))
		}
	}
	return w, nil
}
