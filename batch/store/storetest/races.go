package storetest

import (
	"context"
	"errors"
	"fmt"
	"math/bits"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"github.com/tidegate/tidegate/batch"
	"github.com/tidegate/tidegate/internal/openai"
)

// histories is the number of random histories in each race test.
const histories = 40

var raceTests = []test{
	{"a batch ends once in every race", func(e *env) {
		for seed := range uint64(histories) {
			h := &history{env: e, seed: seed, lines: []int{5, 64, 1, 9}}
			h.run()
		}
	}},
	{"of concurrent batch claims one holds", func(e *env) {
		for range 20 {
			b := e.batch(nil)
			var (
				wg   sync.WaitGroup
				errs [8]error
			)
			for i := range errs {
				wg.Go(func() { _, errs[i] = e.s.ClaimBatch(e.Context(), "batch worker", lease, batch.Task(i%2)) })
			}
			wg.Wait()
			held := 0
			for _, err := range errs {
				if err == nil {
					held++
				} else {
					e.is(err, batch.ErrNotFound)
				}
			}
			equal(e, "claims that hold", held, 1)
			e.cancel(b)
			e.finish(b, batch.Outcome{})
		}
	}},
	{"a file is an input or garbage, when it expires as a batch is made of it", func(e *env) {
		for range 30 {
			e.expireAsInputs(8)
		}
	}},
	{"of concurrent finishers one ends the batch", func(e *env) {
		for range 20 {
			b := e.running(1)
			e.work(b, 0, 1)
			c := e.claimBatch(b.ID)
			var (
				wg   sync.WaitGroup
				errs [8]error
				outs [8]batch.NewFile
			)
			for i := range outs {
				outs[i] = e.newFile()
			}
			for i := range errs {
				wg.Go(func() { errs[i] = e.s.FinishBatch(e.Context(), c, batch.Outcome{Output: &outs[i]}) })
			}
			wg.Wait()
			ended := 0
			for i, err := range errs {
				_, fileErr := e.s.File(e.Context(), tenant, outs[i].ID)
				if err == nil {
					ended++
					e.ok(fileErr)
					equal(e, "output file", e.get(b).OutputFileID, outs[i].ID)
					continue
				}
				e.is(err, batch.ErrStale)
				e.is(fileErr, batch.ErrNotFound)
			}
			equal(e, "finishers that ended it", ended, 1)
		}
	}},
}

// expireAsInputs creates n batches concurrently from n files, which expire when the
// first batch exists, and runs the cleaner meanwhile.
func (e *env) expireAsInputs(n int) {
	e.Helper()
	var (
		creating, collecting sync.WaitGroup
		batches              = make([]batch.NewBatch, n)
		keys                 = make([]string, n)
		errs                 = make([]error, n+1)
		garbage              []string
	)
	for i := range n {
		f := e.file(func(f *batch.NewFile) { f.TTL = time.Hour })
		batches[i], keys[i] = e.newBatch(), f.Key
		batches[i].InputFileID = f.ID
	}
	first, all := make(chan struct{}, n), make(chan struct{})
	for i := range n {
		creating.Go(func() {
			_, _, errs[i] = e.s.CreateBatch(e.Context(), batches[i])
			first <- struct{}{}
		})
	}
	collecting.Go(func() {
		for last := false; !last && errs[n] == nil; {
			select {
			case <-all:
				last = true
			default:
			}
			var found []string
			found, errs[n] = e.s.Garbage(e.Context(), 1000)
			garbage = append(garbage, found...)
		}
	})
	<-first
	e.db.Advance(time.Hour)
	creating.Wait()
	close(all)
	collecting.Wait()
	e.ok(errors.Join(errs...))
	for i, b := range batches {
		_, err := e.s.InputFile(e.Context(), b.ID)
		if slices.Contains(garbage, keys[i]) {
			e.is(err, batch.ErrNotFound)
		} else {
			e.ok(err)
		}
		e.finish(e.cancel(e.get(batch.Batch{ID: b.ID, Tenant: tenant})), batch.Outcome{})
	}
	e.collectGarbage()
}

// history is one batch with concurrent workers, finalizers, a cancelling client and a
// deadline. Their actions are drawn from the seed; their order depends on the
// scheduler.
type history struct {
	*env
	seed  uint64
	lines []int
	b     batch.Batch

	mu        sync.Mutex
	committed map[[2]int]batch.LineResult // by slice and line; guarded by mu
	finished  int                         // calls of FinishBatch that succeeded; guarded by mu
	problems  []error                     // guarded by mu
}

func (h *history) run() {
	ctx, over := context.WithCancel(h.Context())
	defer over()
	h.committed = make(map[[2]int]batch.LineResult)
	h.b = h.running(h.lines...)
	rng := rand.New(rand.NewPCG(h.seed, 1))

	var actors sync.WaitGroup
	act := func(name string, f func(context.Context, *rand.Rand) error) {
		own := rand.New(rand.NewPCG(h.seed, rng.Uint64()))
		actors.Go(func() {
			if err := f(ctx, own); err != nil && !errors.Is(err, context.Canceled) {
				h.problem("%s: %w", name, err)
				over()
			}
		})
	}
	for range 3 {
		act("worker", h.worker)
	}
	if h.seed%4 != 0 { // in the others the batch ends without a deadline
		act("client", h.client)
	}
	if h.seed%3 == 0 {
		act("deadline", h.deadline)
	}
	for range 2 {
		act("finalizer", func(ctx context.Context, r *rand.Rand) error { return h.finalizer(ctx, r, over) })
	}
	actors.Wait()
	h.check()
}

func (h *history) problem(format string, args ...any) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.problems = append(h.problems, fmt.Errorf(format, args...))
}

// worker claims slices, sometimes with a lease of zero, and commits their lines,
// sometimes twice, until no slice is claimable.
func (h *history) worker(ctx context.Context, r *rand.Rand) error {
	for ctx.Err() == nil {
		numbers, err := h.s.ClaimableSlices(ctx, h.b.ID, 1+r.IntN(3))
		if err != nil {
			return err
		}
		if len(numbers) == 0 {
			b, err := h.s.Batch(ctx, tenant, h.b.ID)
			if err != nil || b.Status != batch.InProgress {
				return err
			}
		}
		hold := time.Duration(r.IntN(2)) * lease // half of the claims can be taken away at once
		claimed, err := h.s.ClaimSlices(ctx, batch.Claimant{Owner: "worker", Lease: hold}, refs(h.b, numbers...))
		if err != nil {
			return err
		}
		for _, s := range claimed {
			if err := h.work(ctx, r, s); err != nil {
				return err
			}
		}
	}
	return nil
}

func (h *history) work(ctx context.Context, r *rand.Rand, s batch.Slice) error {
	var todo []int
	for i := range s.Lines {
		if (s.Done|s.Kept)&(1<<i) == 0 {
			todo = append(todo, i)
		}
	}
	r.Shuffle(len(todo), func(i, j int) { todo[i], todo[j] = todo[j], todo[i] })
	for len(todo) > 0 {
		n := 1 + r.IntN(len(todo))
		w := write(s.SliceClaim, todo[:n]...)
		for range 1 + r.IntN(2) { // the second is a repetition
			stale, err := h.s.CommitResults(ctx, []batch.SegmentWrite{w})
			if err != nil {
				return err
			}
			if len(stale) > 0 {
				return nil
			}
			h.note(w)
		}
		todo = todo[n:]
		if r.IntN(4) == 0 {
			return h.leave(ctx, r, s, todo)
		}
	}
	if s.Kept != 0 {
		return h.s.ReleaseSlices(ctx, whole(s.SliceClaim), lease)
	}
	return nil
}

// leave releases a slice, sometimes except for a line. It commits that line while
// others work on the remaining ones, or never.
func (h *history) leave(ctx context.Context, r *rand.Rand, s batch.Slice, todo []int) error {
	if len(todo) < 2 || s.Kept != 0 || r.IntN(2) == 0 {
		return h.s.ReleaseSlices(ctx, whole(s.SliceClaim), lease)
	}
	keep := batch.Release{SliceClaim: s.SliceClaim, Keep: 1 << todo[0]}
	if err := h.s.ReleaseSlices(ctx, []batch.Release{keep}, time.Duration(r.IntN(2))*lease); err != nil {
		return err
	}
	for range r.IntN(20) {
		if _, err := h.s.Slices(ctx, h.b.ID, 0, 10); err != nil {
			return err
		}
	}
	if r.IntN(2) == 0 {
		w := write(s.SliceClaim, todo[0])
		stale, err := h.s.CommitResults(ctx, []batch.SegmentWrite{w})
		if err != nil {
			return err
		}
		if len(stale) == 0 {
			h.note(w)
		}
	}
	return h.s.ReleaseSlices(ctx, whole(s.SliceClaim), lease)
}

// note records lines that the store reported as committed.
func (h *history) note(w batch.SegmentWrite) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, l := range w.Lines {
		h.committed[[2]int{w.Claim.Number, l.Index}] = l
	}
}

// client reads the batch a few times and cancels it.
func (h *history) client(ctx context.Context, r *rand.Rand) error {
	for range r.IntN(400) {
		if _, err := h.s.Batch(ctx, tenant, h.b.ID); err != nil {
			return err
		}
	}
	b, err := h.s.CancelBatch(ctx, tenant, h.b.ID)
	switch {
	case errors.Is(err, batch.ErrConflict):
		if b.Status != batch.Completed && b.Status != batch.Expired {
			return fmt.Errorf("conflict on a batch that is %s", b.Status)
		}
		return nil
	case err == nil && b.Ending != batch.Cancelled:
		return fmt.Errorf("cancelled batch is on its way to %q", b.Ending)
	default:
		return err
	}
}

// deadline moves the clock past the batch's end.
func (h *history) deadline(ctx context.Context, r *rand.Rand) error {
	for range r.IntN(400) {
		if _, err := h.s.Slices(ctx, h.b.ID, 0, 10); err != nil {
			return err
		}
	}
	h.db.Advance(25 * time.Hour)
	_, err := h.s.ExpireBatches(ctx, 10)
	return err
}

// finalizer ends the batch as soon as it can be claimed.
func (h *history) finalizer(ctx context.Context, r *rand.Rand, over func()) error {
	for ctx.Err() == nil {
		hold := time.Duration(r.IntN(2)) * lease
		c, err := h.s.ClaimBatch(ctx, "batch worker", hold, batch.Finalize)
		if errors.Is(err, batch.ErrNotFound) {
			if b, err := h.s.Batch(ctx, tenant, h.b.ID); err != nil || b.Status.Terminal() {
				return err
			}
			continue
		}
		if err != nil {
			return err
		}
		if r.IntN(4) == 0 { // it fails, and another has to
			if err := h.s.ReleaseBatch(ctx, c); err != nil && !errors.Is(err, batch.ErrStale) {
				return err
			}
			continue
		}
		err = h.s.FinishBatch(ctx, c, batch.Outcome{})
		if errors.Is(err, batch.ErrStale) {
			continue
		}
		if err != nil {
			return err
		}
		h.mu.Lock()
		h.finished++
		h.mu.Unlock()
		over()
		return nil
	}
	return nil
}

// check compares the final state with the recorded results.
func (h *history) check() {
	h.Helper()
	if err := errors.Join(h.problems...); err != nil {
		h.Fatalf("seed %d: %v", h.seed, err)
	}
	b := h.get(h.b)
	equal(h.env, fmt.Sprintf("seed %d: times it was finished", h.seed), h.finished, 1)
	reached := 0
	for _, at := range []time.Time{b.CompletedAt, b.ExpiredAt, b.CancelledAt, b.FailedAt} {
		if !at.IsZero() {
			reached++
		}
	}
	if !b.Status.Terminal() || b.Status != b.Ending || reached != 1 {
		h.Fatalf("seed %d: ended as %s, on its way to %s, with %d times of an end", h.seed, b.Status, b.Ending, reached)
	}
	var (
		counts = openai.RequestCounts{Total: b.Counts.Total}
		usage  openai.Usage
		lines  int
	)
	for _, s := range h.slices(b) {
		results := h.results(b, s.Number)
		equal(h.env, "done lines", bits.OnesCount64(s.Done), len(results))
		for _, r := range results {
			full := line(s.SliceClaim, r.Index)
			equal(h.env, "result", r, stored(full))
			usage.Add(full.Usage)
			if r.Failed {
				counts.Failed++
			} else {
				counts.Completed++
			}
			delete(h.committed, [2]int{s.Number, r.Index})
		}
		lines += len(results)
	}
	// A commit that was interrupted by the end of the test may have added
	// lines that no worker recorded, but recorded lines must exist.
	if len(h.committed) > 0 {
		h.Fatalf("seed %d: %d committed lines are missing", h.seed, len(h.committed))
	}
	equal(h.env, fmt.Sprintf("seed %d: counts", h.seed), b.Counts, counts)
	equal(h.env, fmt.Sprintf("seed %d: usage", h.seed), b.Usage, usage)
	if b.Status == batch.Completed && lines != int(b.Counts.Total) {
		h.Fatalf("seed %d: completed with %d of %d lines", h.seed, lines, b.Counts.Total)
	}
}
