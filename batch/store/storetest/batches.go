package storetest

import (
	"fmt"
	"slices"
	"time"

	"github.com/tidegate/tidegate/batch"
)

var batchTests = []test{
	{"a batch is what was made", func(e *env) {
		n := e.newBatch()
		n.CompletionWindow, n.Window = "90m", 90*time.Minute
		n.Metadata = map[string]string{"zebra": "1", "ant": "2", "": "empty key", "moth": ""}
		n.Priority, n.OutputTTL = -3, 36*time.Hour
		before := e.now()
		b, created, err := e.s.CreateBatch(e.Context(), n)
		e.ok(err)
		equal(e, "created", created, true)
		e.during("created at", b.CreatedAt, before, e.now())
		equal(e, "batch", b, batch.Batch{
			ID: n.ID, Tenant: tenant, Endpoint: n.Endpoint, InputFileID: n.InputFileID, CompletionWindow: "90m", Metadata: n.Metadata,
			Priority: -3, OutputTTL: 36 * time.Hour, Status: batch.Validating, CreatedAt: b.CreatedAt, ExpiresAt: b.CreatedAt.Add(90 * time.Minute),
		})
		equal(e, "batch read", e.get(b), b)
	}},
	{"metadata that is missing stays missing", func(e *env) {
		if b := e.get(e.batch(nil)); b.Metadata != nil {
			e.Fatalf("metadata is %#v", b.Metadata)
		}
		if b := e.get(e.batch(func(b *batch.NewBatch) { b.Metadata = map[string]string{} })); b.Metadata == nil || len(b.Metadata) > 0 {
			e.Fatalf("metadata is %#v, was made empty", b.Metadata)
		}
	}},
	{"an unknown batch is not found", func(e *env) {
		_, err := e.s.Batch(e.Context(), tenant, "batch_unknown")
		e.is(err, batch.ErrNotFound)
		_, err = e.s.CancelBatch(e.Context(), tenant, "batch_unknown")
		e.is(err, batch.ErrNotFound)
		_, err = e.s.DeleteBatch(e.Context(), tenant, "batch_unknown", batch.Deletion{})
		e.is(err, batch.ErrNotFound)
	}},
	{"pages, newest first", func(e *env) {
		var want []string
		for range 23 {
			want = append(want, e.batch(nil).ID)
		}
		slices.Reverse(want)
		for _, limit := range []int{1, 7, 22, 23, 24, 100} {
			q := batch.BatchQuery{Limit: limit}
			for from := 0; ; from += limit {
				page, more, err := e.s.Batches(e.Context(), tenant, q)
				e.ok(err)
				to := min(from+limit, len(want))
				got := make([]string, len(page))
				for i, b := range page {
					got[i] = b.ID
				}
				what := fmt.Sprintf("limit %d from %d", limit, from)
				equal(e, what, got, want[from:to])
				equal(e, what+": more", more, to < len(want))
				if !more {
					break
				}
				q.After = got[len(got)-1]
			}
		}
	}},
	{"a page can begin after a batch that was deleted", func(e *env) {
		first, second := e.failed(), e.failed()
		_, err := e.s.DeleteBatch(e.Context(), tenant, second.ID, batch.Deletion{})
		e.ok(err)
		e.db.Advance(time.Hour - time.Second)
		page, more, err := e.s.Batches(e.Context(), tenant, batch.BatchQuery{After: second.ID, Limit: 10})
		e.ok(err)
		equal(e, "page", page, []batch.Batch{first})
		equal(e, "more", more, false)
	}},
	{"an unknown cursor is refused", func(e *env) {
		e.batch(nil)
		_, _, err := e.s.Batches(e.Context(), tenant, batch.BatchQuery{After: "batch_unknown", Limit: 10})
		e.is(err, batch.ErrBadCursor)
	}},
	{"cancelling before validation", func(e *env) {
		b := e.batch(nil)
		claim := e.claimBatch(b.ID)
		got := e.cancel(b)
		equal(e, "never ran", got.InProgressAt, time.Time{})
		e.is(e.s.StartBatch(e.Context(), claim, plan(1)), batch.ErrStale)
		e.is(e.s.FailBatch(e.Context(), claim, nil), batch.ErrStale)
		e.is(e.s.RenewBatch(e.Context(), claim, lease), batch.ErrStale)
		e.is(e.s.ReleaseBatch(e.Context(), claim), batch.ErrStale)
		equal(e, "batch", e.get(b), got)
		equal(e, "slices", e.slices(b), nil)
	}},
	{"cancelling while lines run", func(e *env) {
		b := e.running(4, 4)
		c := e.claim(b, 0)
		e.commit(c, 0, 3)
		got := e.cancel(b)
		equal(e, "completed", got.Counts.Completed, int64(1))
		equal(e, "failed", got.Counts.Failed, int64(1))
		stale, err := e.s.CommitResults(e.Context(), []batch.SegmentWrite{write(c, 1), write(c, 0)})
		e.ok(err)
		equal(e, "stale claims", stale, []batch.SliceClaim{c})
		lost, err := e.s.RenewSlices(e.Context(), []batch.SliceClaim{c}, lease)
		e.ok(err)
		equal(e, "lost claims", lost, []batch.SliceClaim{c})
		e.ok(e.s.ReleaseSlices(e.Context(), whole(c), lease))
		claimed, err := e.s.ClaimSlices(e.Context(), batch.Claimant{Owner: "worker", Lease: lease}, refs(b, 0, 1))
		e.ok(err)
		equal(e, "claimed slices", claimed, nil)
		numbers, err := e.s.ClaimableSlices(e.Context(), b.ID, 10)
		e.ok(err)
		equal(e, "claimable slices", numbers, nil)
		equal(e, "batch", e.get(b), got)
		equal(e, "results", e.results(b, 0), []batch.LineResult{stored(line(c, 0)), stored(line(c, 3))})
	}},
	{"cancelling while results are written", func(e *env) {
		b := e.running(1)
		e.work(b, 0, 1)
		claim := e.claimBatch(b.ID)
		got := e.cancel(b)
		out := e.newFile()
		e.is(e.s.FinishBatch(e.Context(), claim, batch.Outcome{Output: &out}), batch.ErrStale)
		_, err := e.s.File(e.Context(), tenant, out.ID)
		e.is(err, batch.ErrNotFound)
		equal(e, "batch", e.get(b), got)
		equal(e, "ends", e.finish(b, batch.Outcome{Output: &out}).Status, batch.Cancelled)
	}},
	{"cancelling a batch that is expiring", func(e *env) {
		b := e.running(1)
		e.db.Advance(24 * time.Hour)
		e.expire(b.ID)
		e.cancel(b)
		equal(e, "ends", e.finish(b, batch.Outcome{}).Status, batch.Cancelled)
	}},
	{"cancelling again changes nothing", func(e *env) {
		b := e.batch(nil)
		want := e.cancel(b)
		claim := e.claimBatch(b.ID)
		e.db.Advance(time.Minute)
		again, err := e.s.CancelBatch(e.Context(), tenant, b.ID)
		e.ok(err)
		equal(e, "while cancelling", again, want)
		e.ok(e.s.FinishBatch(e.Context(), claim, batch.Outcome{})) // its claim was left alone
		want = e.get(b)
		equal(e, "status", want.Status, batch.Cancelled)
		again, err = e.s.CancelBatch(e.Context(), tenant, b.ID)
		e.ok(err)
		equal(e, "when cancelled", again, want)
	}},
	{"what has ended otherwise cannot be cancelled", func(e *env) {
		for _, b := range []batch.Batch{e.completed(nil), e.failed(), e.expired()} {
			got, err := e.s.CancelBatch(e.Context(), tenant, b.ID)
			e.is(err, batch.ErrConflict)
			equal(e, "batch returned", got, b)
			equal(e, "batch", e.get(b), b)
		}
	}},
}

// cancel cancels a batch and checks its new state.
func (e *env) cancel(b batch.Batch) batch.Batch {
	e.Helper()
	want := e.get(b)
	before := e.now()
	got, err := e.s.CancelBatch(e.Context(), b.Tenant, b.ID)
	e.ok(err)
	e.during("cancelling at", got.CancellingAt, before, e.now())
	want.Status, want.Ending, want.CancellingAt = batch.Cancelling, batch.Cancelled, got.CancellingAt
	equal(e, "cancelled batch", got, want)
	equal(e, "cancelled batch read", e.get(b), got)
	return got
}
