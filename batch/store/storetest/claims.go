package storetest

import (
	"slices"
	"sync"
	"time"

	"github.com/tidegate/tidegate/batch"
)

var claimTests = []test{
	{"active batches come by priority, deadline and age", func(e *env) {
		make := func(priority int, window time.Duration) batch.Batch {
			return e.start(e.batch(func(n *batch.NewBatch) { n.Priority, n.Window = priority, window }), 1)
		}
		low := make(-1, time.Hour)
		late := make(0, 30*time.Hour)
		older := make(0, 20*time.Hour)
		newer := make(0, 20*time.Hour)
		high := make(5, 40*time.Hour)
		theirs := e.start(e.batch(func(n *batch.NewBatch) { n.Tenant, n.Priority = "rival", 9 }), 1)
		e.failed()
		e.cancelled()
		done := e.running(1)
		e.work(done, 0, 1)
		e.batch(nil) // validating
		want := []batch.Batch{theirs, high, older, newer, late, low}
		got, err := e.s.ActiveBatches(e.Context(), 10)
		e.ok(err)
		equal(e, "active batches", got, want)
		got, err = e.s.ActiveBatches(e.Context(), 3)
		e.ok(err)
		equal(e, "first active batches", got, want[:3])
	}},
	{"claimable slices come in input order", func(e *env) {
		b := e.running(1, 2, 3, 4, 5)
		e.claim(b, 1)
		e.work(b, 3, 4)
		got, err := e.s.ClaimableSlices(e.Context(), b.ID, 10)
		e.ok(err)
		equal(e, "claimable slices", got, []int{0, 2, 4})
		got, err = e.s.ClaimableSlices(e.Context(), b.ID, 2)
		e.ok(err)
		equal(e, "first claimable slices", got, []int{0, 2})
		got, err = e.s.ClaimableSlices(e.Context(), "batch_unknown", 10)
		e.ok(err)
		equal(e, "claimable slices of an unknown batch", got, nil)
	}},
	{"a claim tells what there is to do", func(e *env) {
		b := e.running(3, 64)
		first, err := e.s.ClaimSlices(e.Context(), batch.Claimant{Owner: "worker", Lease: 0}, refs(b, 1))
		e.ok(err)
		e.commit(first[0].SliceClaim, 0, 63)
		got, err := e.s.ClaimSlices(e.Context(), batch.Claimant{Owner: "worker", Lease: lease}, refs(b, 1, 0))
		e.ok(err)
		p := plan(3, 64)
		equal(e, "slices", got, []batch.Slice{
			{SliceClaim: batch.SliceClaim{SliceRef: refs(b, 1)[0], Attempt: 2}, SlicePlan: p.Slices[1], Done: 1 | 1<<63},
			{SliceClaim: batch.SliceClaim{SliceRef: refs(b, 0)[0], Attempt: 1}, SlicePlan: p.Slices[0]},
		})
	}},
	{"what cannot be claimed is left out", func(e *env) {
		b := e.running(1, 1, 1)
		other := e.batch(nil) // validating
		e.claim(b, 0)
		e.work(b, 1, 1)
		ask := append(refs(b, 0, 1, 2, 3, -1), refs(other, 0)...)
		ask = append(ask, batch.SliceRef{BatchID: "batch_unknown"}, batch.SliceRef{BatchID: b.ID, Number: 2})
		got, err := e.s.ClaimSlices(e.Context(), batch.Claimant{Owner: "worker", Lease: lease}, ask)
		e.ok(err)
		equal(e, "claimed", len(got), 1)
		equal(e, "slice", got[0].SliceClaim, batch.SliceClaim{SliceRef: refs(b, 2)[0], Attempt: 1})
		got, err = e.s.ClaimSlices(e.Context(), batch.Claimant{Owner: "worker", Lease: lease}, nil)
		e.ok(err)
		equal(e, "claimed of nothing", got, nil)
	}},
	{"a lease that ended lets another claim, whose attempt counts", func(e *env) {
		b := e.running(4)
		first := e.claim(b, 0)
		e.commit(first, 0)
		e.db.Advance(lease - time.Second)
		got, err := e.s.ClaimSlices(e.Context(), batch.Claimant{Owner: "other", Lease: lease}, refs(b, 0))
		e.ok(err)
		equal(e, "claimed during the lease", got, nil)
		e.db.Advance(time.Second)
		second := e.claim(b, 0)
		equal(e, "attempt", second.Attempt, first.Attempt+1)
		stale, err := e.s.CommitResults(e.Context(), []batch.SegmentWrite{write(first, 1), write(second, 2)})
		e.ok(err)
		equal(e, "stale claims", stale, []batch.SliceClaim{first})
		lost, err := e.s.RenewSlices(e.Context(), []batch.SliceClaim{first, second}, lease)
		e.ok(err)
		equal(e, "lost claims", lost, []batch.SliceClaim{first})
		e.ok(e.s.ReleaseSlices(e.Context(), whole(first), lease))
		numbers, err := e.s.ClaimableSlices(e.Context(), b.ID, 10)
		e.ok(err)
		equal(e, "claimable slices", numbers, nil)
		equal(e, "results", e.results(b, 0), []batch.LineResult{stored(line(first, 0)), stored(line(second, 2))})
	}},
	{"a claim without takeover gets only free slices", func(e *env) {
		b := e.running(4, 4, 4)
		ended, released := e.claim(b, 0), e.claim(b, 1)
		e.ok(e.s.ReleaseSlices(e.Context(), whole(released), lease))
		e.db.Advance(lease)
		got, err := e.s.ClaimSlices(e.Context(), batch.Claimant{Owner: "other", Lease: lease, Patient: true}, refs(b, 0, 1, 2))
		e.ok(err)
		equal(e, "claimed", len(got), 2)
		equal(e, "first", got[0].SliceClaim, batch.SliceClaim{SliceRef: released.SliceRef, Attempt: released.Attempt + 1})
		equal(e, "second", got[1].SliceClaim, batch.SliceClaim{SliceRef: refs(b, 2)[0], Attempt: 1})
		stale, err := e.s.CommitResults(e.Context(), []batch.SegmentWrite{write(ended, 0)})
		e.ok(err)
		equal(e, "stale claims", stale, nil)
	}},
	{"a lease that ended unnoticed can be renewed and used", func(e *env) {
		b := e.running(2)
		got, err := e.s.ClaimSlices(e.Context(), batch.Claimant{Owner: "worker", Lease: 0}, refs(b, 0))
		e.ok(err)
		c := got[0].SliceClaim
		e.commit(c, 0)
		lost, err := e.s.RenewSlices(e.Context(), []batch.SliceClaim{c}, lease)
		e.ok(err)
		equal(e, "lost claims", lost, nil)
		numbers, err := e.s.ClaimableSlices(e.Context(), b.ID, 10)
		e.ok(err)
		equal(e, "claimable slices", numbers, nil)
	}},
	{"slices that were never claimed, or were released, have not lapsed", func(e *env) {
		b := e.running(1, 1, 1)
		e.ok(e.s.ReleaseSlices(e.Context(), whole(e.claim(b, 0)), lease))
		c := e.claim(b, 1)
		e.commit(c, 0)
		e.claim(b, 2)
		numbers, err := e.s.LapsedSlices(e.Context(), b.ID, 10)
		e.ok(err)
		equal(e, "lapsed slices", numbers, nil)
		e.db.Advance(lease + time.Second)
		numbers, err = e.s.LapsedSlices(e.Context(), b.ID, 10)
		e.ok(err)
		equal(e, "lapsed slices", numbers, []int{2})
		_, err = e.s.CancelBatch(e.Context(), tenant, b.ID)
		e.ok(err)
		for _, id := range []string{b.ID, "batch_unknown"} {
			numbers, err = e.s.LapsedSlices(e.Context(), id, 10)
			e.ok(err)
			equal(e, "lapsed slices of no running batch", numbers, nil)
		}
	}},
	{"renewing extends the lease from now", func(e *env) {
		b := e.running(1, 1)
		first, second := e.claim(b, 0), e.claim(b, 1)
		e.db.Advance(lease / 2)
		unknown := batch.SliceClaim{SliceRef: batch.SliceRef{BatchID: "batch_unknown"}, Attempt: 1}
		early := batch.SliceClaim{SliceRef: second.SliceRef, Attempt: 2}
		lost, err := e.s.RenewSlices(e.Context(), []batch.SliceClaim{first, unknown, early}, lease)
		e.ok(err)
		equal(e, "lost claims", lost, []batch.SliceClaim{unknown, early})
		e.db.Advance(lease/2 + time.Second)
		numbers, err := e.s.ClaimableSlices(e.Context(), b.ID, 10)
		e.ok(err)
		equal(e, "claimable slices", numbers, []int{1})
		numbers, err = e.s.LapsedSlices(e.Context(), b.ID, 10)
		e.ok(err)
		equal(e, "lapsed slices", numbers, []int{1})
		e.db.Advance(lease / 2)
		numbers, err = e.s.ClaimableSlices(e.Context(), b.ID, 10)
		e.ok(err)
		equal(e, "claimable slices later", numbers, []int{0, 1})
		for limit, want := range map[int][]int{1: {0}, 10: {0, 1}} {
			numbers, err = e.s.LapsedSlices(e.Context(), b.ID, limit)
			e.ok(err)
			equal(e, "lapsed slices later", numbers, want)
		}
	}},
	{"a finished slice has no lease, and its claim is not lost", func(e *env) {
		b := e.running(2, 1)
		c := e.claim(b, 0)
		e.commit(c, 0, 1)
		for range 2 {
			lost, err := e.s.RenewSlices(e.Context(), []batch.SliceClaim{c}, lease)
			e.ok(err)
			equal(e, "lost claims", lost, nil)
			got, err := e.s.ClaimSlices(e.Context(), batch.Claimant{Owner: "worker", Lease: lease}, refs(b, 0))
			e.ok(err)
			equal(e, "claimed", got, nil)
			e.db.Advance(2 * lease)
		}
		e.cancel(b)
		lost, err := e.s.RenewSlices(e.Context(), []batch.SliceClaim{c}, lease)
		e.ok(err)
		equal(e, "lost claims once cancelled", lost, []batch.SliceClaim{c})
	}},
	{"a released claim is lost", func(e *env) {
		b := e.running(1, 1)
		first, second := e.claim(b, 0), e.claim(b, 1)
		e.ok(e.s.ReleaseSlices(e.Context(), whole(first, batch.SliceClaim{SliceRef: batch.SliceRef{BatchID: "batch_unknown"}, Attempt: 1}), lease))
		lost, err := e.s.RenewSlices(e.Context(), []batch.SliceClaim{first, second}, lease)
		e.ok(err)
		equal(e, "lost claims", lost, []batch.SliceClaim{first})
		again := e.claim(b, 0)
		equal(e, "attempt", again.Attempt, first.Attempt+1)
		got, err := e.s.ClaimSlices(e.Context(), batch.Claimant{Owner: "worker", Lease: lease}, refs(b, 1))
		e.ok(err)
		equal(e, "claimed", got, nil)
	}},
	{"of concurrent claims each slice goes to one", func(e *env) {
		const workers, slicesOf = 8, 200
		lines := make([]int, slicesOf)
		for i := range lines {
			lines[i] = 1
		}
		b := e.running(lines...)
		var (
			wg   sync.WaitGroup
			mine [workers][]int
			errs [workers]error
		)
		for w := range workers {
			wg.Go(func() {
				for {
					numbers, err := e.s.ClaimableSlices(e.Context(), b.ID, 7)
					if err != nil || len(numbers) == 0 {
						errs[w] = err
						return
					}
					got, err := e.s.ClaimSlices(e.Context(), batch.Claimant{Owner: "worker", Lease: lease}, refs(b, numbers...))
					if err != nil {
						errs[w] = err
						return
					}
					for _, s := range got {
						mine[w] = append(mine[w], s.Number)
					}
				}
			})
		}
		wg.Wait()
		var all []int
		for w := range workers {
			e.ok(errs[w])
			all = append(all, mine[w]...)
		}
		slices.Sort(all)
		equal(e, "claimed slices", all, upTo(slicesOf))
	}},
}
