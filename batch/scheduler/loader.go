package scheduler

import (
	"context"
	"errors"
	"fmt"
	"math/bits"
	"time"

	"github.com/tidegate/tidegate/batch"
)

// loader claims slices of batches and reads their lines. It has no state: its goroutines
// run beside the loop, and what they return belongs to the loop.
type loader struct{ deps *Dependencies }

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
func (l *loader) read(ctx context.Context, q loadRequest) loaded {
	out := loaded{inputKey: q.inputKey, unread: q.unread, found: len(q.unread) > 0}
	limit := storeTimeout
	if !q.patient {
		limit = min(limit, claimWait(l.deps.Config()))
	}
	bounded, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	if out.inputKey == "" {
		input, err := l.deps.Store.InputFile(bounded, q.batch.ID)
		if err != nil {
			out.err, out.away = fmt.Errorf("finding input file: %w", err), !errors.Is(err, batch.ErrNotFound)
			return out
		}
		out.inputKey = input.Key
	}
	if len(out.unread) == 0 {
		until := time.Now().Add(l.deps.Config().Lease)
		slices, more, err := l.claimFor(bounded, q)
		for _, slice := range slices {
			out.unread = append(out.unread, claimed{slice, until})
		}
		out.err, out.more, out.away = err, more, err != nil
		out.found = len(out.unread) > 0
	}
	for len(out.unread) > 0 {
		next := out.unread[0]
		if q.memory < next.Length && !q.force {
			break
		}
		w, err := l.readSlice(ctx, q.batch, out.inputKey, next)
		if err != nil {
			out.err = err
			break
		}
		q.memory -= next.Length
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
func (l *loader) claimFor(ctx context.Context, q loadRequest) (slices []batch.Slice, more bool, err error) {
	if q.lapsed {
		slices, err = l.claimLapsed(ctx, q)
		if err != nil || len(slices) > 0 || q.only {
			return slices, len(slices) == q.slices, err
		}
	}
	slices, err = l.claim(ctx, q)
	return slices, false, err
}

func (l *loader) claimLapsed(ctx context.Context, q loadRequest) ([]batch.Slice, error) {
	numbers, err := l.deps.Store.LapsedSlices(ctx, q.batch.ID, q.slices)
	if err != nil {
		return nil, fmt.Errorf("looking for lapsed slices: %w", err)
	}
	if len(numbers) == 0 {
		return nil, nil
	}
	return l.claimNumbers(ctx, q, numbers)
}

// claim takes what the queue says and, when it says nothing, what the store
// knows: the queue may have forgotten.
func (l *loader) claim(ctx context.Context, q loadRequest) ([]batch.Slice, error) {
	for {
		numbers, err := l.deps.Queue.Pop(ctx, q.batch.ID, q.slices)
		l.deps.NoteQueue(err)
		if len(numbers) == 0 {
			break
		}
		slices, err := l.claimNumbers(ctx, q, numbers)
		if err != nil || len(slices) > 0 {
			return slices, err
		}
		// All were taken or finished; what the queue has behind may not be.
	}
	numbers, err := l.deps.Store.ClaimableSlices(ctx, q.batch.ID, q.slices)
	if err != nil {
		return nil, fmt.Errorf("looking for slices: %w", err)
	}
	if len(numbers) == 0 {
		return nil, nil
	}
	return l.claimNumbers(ctx, q, numbers)
}

func (l *loader) claimNumbers(ctx context.Context, q loadRequest, numbers []int) ([]batch.Slice, error) {
	refs := make([]batch.SliceRef, len(numbers))
	for i, n := range numbers {
		refs[i] = batch.SliceRef{BatchID: q.batch.ID, Number: n}
	}
	slices, err := l.deps.Store.ClaimSlices(ctx, batch.Claimant{Owner: l.deps.Owner, Lease: l.deps.Config().Lease, Patient: q.patient}, refs)
	if err != nil {
		return nil, fmt.Errorf("claiming slices: %w", err)
	}
	return slices, nil
}

// readSlice reads the undone lines of a slice.
func (l *loader) readSlice(ctx context.Context, b batch.Batch, key string, s claimed) (*work, error) {
	requests, err := batch.ReadRequests(ctx, l.deps.Files, b.Endpoint, key, s.SlicePlan, l.deps.Config().MaxLineBytes)
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
