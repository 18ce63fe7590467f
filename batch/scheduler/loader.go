package scheduler

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/bits"
	"sync"
	"time"

	"github.com/tidegate/tidegate/batch"
	"github.com/tidegate/tidegate/internal/openai"
)

// loader claims slices of batches and reads their lines. It has no state: its goroutines
// run beside the loop, and what they return belongs to the loop.
type loader struct{ deps *Dependencies }

// loaded is the result of a load.
type loaded struct {
	inputKey string
	work     []*work
	unread   []claimed
	found    bool // slices were claimed or unread
	more     bool // there may be more slices of ended leases
	err      error
	away     bool // the store failed
}

// loadRequest holds the parameters of a load.
type loadRequest struct {
	batch    batch.Batch
	inputKey string
	unread   []claimed
	slices   int   // how many to claim
	memory   int64 // bytes that the slices that are read may take
	deferred bool  // the requests are not kept
	force    bool  // read one slice even beyond memory, once its size is known
	patient  bool  // do not claim slices of ended leases
	lapsed   bool  // look for slices of ended leases before the queue is asked
	only     bool  // look for nothing else
	progress *progress
}

// progress counts the memory of the slices that a load began to read.
type progress struct {
	mu    sync.Mutex
	begun holding // guarded by mu
	ended bool    // guarded by mu; no other slice is read
}

// begin counts a slice, and reports whether it may be read.
func (p *progress) begin(adds int64, deferred bool) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.ended {
		p.begun = p.begun.plus(holdingOf(adds, deferred))
	}
	return !p.ended
}

// end lets the load read no other slice. It returns the memory of those that it began to read.
func (p *progress) end() holding {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.ended = true
	return p.begun
}

// reserve limits a load to the memory that its slices should take, if there is as much, and
// returns that. Slices that take more, because their lines are long, remain unread: the next load
// knows their sizes.
func (r *loadRequest) reserve() holding {
	var h holding
	slices := int64(r.slices)
	switch free := max(r.memory, 0); {
	case len(r.unread) > 0:
		for i, next := range r.unread {
			adds, deferred := next.adds(r.deferred)
			if h.bytes()+adds > free && (i > 0 || !r.force) {
				break
			}
			h = h.plus(holdingOf(adds, deferred))
		}
	case r.deferred:
		h.keys = min(free, slices*batch.SliceLines*deferredBytes)
	default:
		h.requests = min(free, slices*batch.SliceBytes)
	}
	r.memory = h.bytes()
	return h
}

// read claims slices of a batch and reads their lines.
func (l *loader) read(ctx context.Context, want loadRequest) loaded {
	out := loaded{inputKey: want.inputKey, unread: want.unread, found: len(want.unread) > 0}
	limit := storeTimeout
	if !want.patient {
		limit = min(limit, claimWait(l.deps.Config()))
	}
	bounded, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	if out.inputKey == "" {
		input, err := l.deps.Store.InputFile(bounded, want.batch.ID)
		if err != nil {
			out.err, out.away = fmt.Errorf("finding input file: %w", err), !errors.Is(err, batch.ErrNotFound)
			return out
		}
		out.inputKey = input.Key
	}
	if len(out.unread) == 0 {
		until := time.Now().Add(l.deps.Config().Lease)
		slices, more, err := l.claimFor(bounded, want)
		for _, slice := range slices {
			out.unread = append(out.unread, claimed{slice, until})
		}
		out.err, out.more, out.away = err, more, err != nil
		out.found = len(out.unread) > 0
	}
	for len(out.unread) > 0 {
		next := out.unread[0]
		adds, deferred := next.adds(want.deferred)
		if want.memory < adds && !want.force || !want.progress.begin(adds, deferred) {
			break
		}
		w, err := l.readSlice(ctx, want.batch, out.inputKey, next, deferred)
		if err != nil {
			out.err = err
			break
		}
		want.memory -= w.holds().bytes()
		want.force = false
		out.unread = out.unread[1:]
		out.work = append(out.work, w)
	}
	return out
}

// lapsedInterval is the time between two searches for slices whose lease has ended. In the
// queue, those of a gateway that died are behind all new ones.
const lapsedInterval = 3 * time.Second

// claimFor claims slices for a load, and reports whether there may be more slices of ended
// leases.
func (l *loader) claimFor(ctx context.Context, want loadRequest) (slices []batch.Slice, more bool, err error) {
	if want.lapsed {
		slices, err = l.claimLapsed(ctx, want)
		if err != nil || len(slices) > 0 || want.only {
			return slices, len(slices) == want.slices, err
		}
	}
	slices, err = l.claim(ctx, want)
	return slices, false, err
}

// claimLapsed claims slices of ended leases.
func (l *loader) claimLapsed(ctx context.Context, want loadRequest) ([]batch.Slice, error) {
	numbers, err := l.deps.Store.LapsedSlices(ctx, want.batch.ID, want.slices)
	if err != nil {
		return nil, fmt.Errorf("looking for lapsed slices: %w", err)
	}
	if len(numbers) == 0 {
		return nil, nil
	}
	return l.claimNumbers(ctx, want, numbers)
}

// claim claims the slices that the queue returns. If it returns none, the store is asked,
// because the queue may have lost references.
func (l *loader) claim(ctx context.Context, want loadRequest) ([]batch.Slice, error) {
	for {
		numbers, err := l.deps.Queue.Pop(ctx, want.batch.ID, want.slices)
		l.deps.NoteQueue(err)
		if len(numbers) == 0 {
			break
		}
		slices, err := l.claimNumbers(ctx, want, numbers)
		if err != nil || len(slices) > 0 {
			return slices, err
		}
		// All were claimed by others or finished; the next ones may not be.
	}
	numbers, err := l.deps.Store.ClaimableSlices(ctx, want.batch.ID, want.slices)
	if err != nil {
		return nil, fmt.Errorf("looking for slices: %w", err)
	}
	if len(numbers) == 0 {
		return nil, nil
	}
	return l.claimNumbers(ctx, want, numbers)
}

// claimNumbers claims slices of a batch, except those that others have.
func (l *loader) claimNumbers(ctx context.Context, want loadRequest, numbers []int) ([]batch.Slice, error) {
	refs := make([]batch.SliceRef, len(numbers))
	for i, n := range numbers {
		refs[i] = batch.SliceRef{BatchID: want.batch.ID, Number: n}
	}
	slices, err := l.deps.Store.ClaimSlices(ctx, batch.Claimant{Owner: l.deps.Owner, Lease: l.deps.Config().Lease, Patient: want.patient}, refs)
	if err != nil {
		return nil, fmt.Errorf("claiming slices: %w", err)
	}
	return slices, nil
}

// readSlice reads the lines of a slice that have no result. deferred reports that their requests
// are not kept.
func (l *loader) readSlice(ctx context.Context, b batch.Batch, key string, s claimed, deferred bool) (*work, error) {
	taken := s.Done | s.Kept
	w := &work{claimed: s, left: s.Lines - bits.OnesCount64(taken)}
	w.lines = make([]*line, 0, w.left)
	err := batch.VisitRequests(ctx, l.deps.Files, b.Endpoint, key, s.SlicePlan, l.deps.Config().MaxLineBytes, func(index int, r openai.Request, at batch.LinePlace) {
		if taken&(1<<index) != 0 {
			return
		}
		var added *line
		if deferred {
			added = deferredLine(w, index, &r)
		} else {
			r.Body = bytes.Clone(r.Body)
			added = newLine(w, index, r)
		}
		added.at = at
		if added.model == b.Model {
			added.model = b.Model // one copy
		}
		w.lines = append(w.lines, added)
	})
	if err != nil {
		return nil, fmt.Errorf("reading slice %d of %s: %w", s.Number, b.ID, err)
	}
	return w, nil
}
