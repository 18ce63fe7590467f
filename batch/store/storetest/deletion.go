package storetest

import (
	"time"

	"github.com/tidegate/tidegate/batch"
)

// fileGone checks whether a file exists.
func (e *env) fileGone(id string, want bool) {
	e.Helper()
	_, err := e.s.File(e.Context(), tenant, id)
	if want {
		e.is(err, batch.ErrNotFound)
	} else {
		e.ok(err)
	}
}

// drop deletes a batch.
func (e *env) drop(b batch.Batch, input bool) {
	e.Helper()
	got, err := e.s.DeleteBatch(e.Context(), tenant, b.ID, batch.Deletion{Input: input})
	e.ok(err)
	equal(e, "deleted batch", got, b)
	_, err = e.s.Batch(e.Context(), tenant, b.ID)
	e.is(err, batch.ErrNotFound)
}

// discard deletes a batch that has not ended, with its input.
func (e *env) discard(b batch.Batch) {
	e.Helper()
	before := e.get(b)
	got, err := e.s.DeleteBatch(e.Context(), tenant, b.ID, batch.Deletion{Input: true})
	e.ok(err)
	equal(e, "status", got.Status, batch.Cancelled)
	equal(e, "ending", got.Ending, batch.Cancelled)
	if got.CancelledAt.IsZero() || got.CancellingAt.IsZero() || !before.CancellingAt.IsZero() && !got.CancellingAt.Equal(before.CancellingAt) {
		e.Errorf("cancelling at %v (before: %v), cancelled at %v", got.CancellingAt, before.CancellingAt, got.CancelledAt)
	}
	_, err = e.s.Batch(e.Context(), tenant, b.ID)
	e.is(err, batch.ErrNotFound)
	e.fileGone(b.InputFileID, true)
}

var deletionTests = []test{
	{"deleting hides the batch with its results", func(e *env) {
		b := e.running(4)
		e.work(b, 0, 4)
		out, errs := e.newFile(), e.newFile()
		b = e.finish(b, batch.Outcome{Output: &out, Error: &errs})
		e.drop(b, false)
		e.fileGone(out.ID, true)
		e.fileGone(errs.ID, true)
		e.fileGone(b.InputFileID, false)
		page, _, err := e.s.Batches(e.Context(), tenant, batch.BatchQuery{Limit: 10})
		e.ok(err)
		equal(e, "listed", page, nil)
		_, err = e.s.DeleteBatch(e.Context(), tenant, b.ID, batch.Deletion{})
		e.is(err, batch.ErrNotFound)
		_, err = e.s.CancelBatch(e.Context(), tenant, b.ID)
		e.is(err, batch.ErrNotFound)
	}},
	{"every terminal batch can be deleted by a deletion of ended ones", func(e *env) {
		for _, b := range []batch.Batch{e.failed(), e.cancelled(), e.expired(), e.completed(nil)} {
			_, err := e.s.DeleteBatch(e.Context(), tenant, b.ID, batch.Deletion{EndedOnly: true})
			e.ok(err)
			_, err = e.s.Batch(e.Context(), tenant, b.ID)
			e.is(err, batch.ErrNotFound)
		}
	}},
	{"every terminal batch can be deleted", func(e *env) {
		for _, b := range []batch.Batch{e.failed(), e.cancelled(), e.expired()} {
			e.drop(b, true)
			e.fileGone(b.InputFileID, true)
		}
	}},
	{"a running batch is not deleted by a deletion of ended ones", func(e *env) {
		running := e.running(1)
		finalizing := e.running(1)
		e.work(finalizing, 0, 1)
		validating := e.batch(nil)
		cancelling := e.batch(nil)
		e.cancel(cancelling)
		for _, b := range []batch.Batch{running, finalizing, validating, cancelling} {
			want := e.get(b)
			got, err := e.s.DeleteBatch(e.Context(), tenant, b.ID, batch.Deletion{Input: true, EndedOnly: true})
			e.is(err, batch.ErrConflict)
			equal(e, "batch returned", got, want)
			equal(e, "batch", e.get(b), want)
			e.fileGone(b.InputFileID, false)
		}
	}},
	{"a running batch is ended and deleted at once", func(e *env) {
		for _, state := range []struct {
			status batch.Status
			reach  func() batch.Batch
		}{
			{batch.Validating, func() batch.Batch { return e.batch(nil) }},
			{batch.InProgress, func() batch.Batch { return e.running(4, 4) }},
			{batch.Finalizing, func() batch.Batch { b := e.running(1); e.work(b, 0, 1); return b }},
			{batch.Cancelling, func() batch.Batch { b := e.running(2); e.cancel(b); return b }},
		} {
			b := e.get(state.reach())
			equal(e, "status", b.Status, state.status)
			e.discard(b)
			equal(e, "states", e.states()[state.status], int64(0))
		}
		equal(e, "batches left", e.found(batch.BatchFilter{}), nil)
		active, err := e.s.ActiveBatches(e.Context(), 10)
		e.ok(err)
		equal(e, "active batches", active, nil)
		for _, task := range []batch.Task{batch.Validate, batch.Finalize} {
			_, err = e.s.ClaimBatch(e.Context(), "batch worker", lease, task)
			e.is(err, batch.ErrNotFound)
		}
	}},
	{"a running batch that is deleted is lost by all that worked on it", func(e *env) {
		b := e.running(2, 2)
		held := e.claim(b, 0)
		e.commit(held, 0)
		e.discard(b)
		stale, err := e.s.CommitResults(e.Context(), []batch.SegmentWrite{write(held, 1)})
		e.ok(err)
		equal(e, "stale claims", stale, []batch.SliceClaim{held})
		lost, err := e.s.RenewSlices(e.Context(), []batch.SliceClaim{held}, lease)
		e.ok(err)
		equal(e, "lost claims", lost, []batch.SliceClaim{held})
		slices, err := e.s.ClaimSlices(e.Context(), batch.Claimant{Owner: "other", Lease: lease}, refs(b, 0, 1))
		e.ok(err)
		equal(e, "claimed", slices, nil)

		validating := e.batch(nil)
		claim := e.claimBatch(validating.ID)
		e.discard(validating)
		e.is(e.s.StartBatch(e.Context(), claim, plan(1)), batch.ErrStale)
		e.is(e.s.FailBatch(e.Context(), claim, nil), batch.ErrStale)
		e.is(e.s.RenewBatch(e.Context(), claim, lease), batch.ErrStale)

		finalizing := e.running(1)
		e.work(finalizing, 0, 1)
		claim = e.claimOf(finalizing)
		e.discard(finalizing)
		out := e.newFile()
		e.is(e.s.FinishBatch(e.Context(), claim, batch.Outcome{Output: &out}), batch.ErrStale)
		e.fileGone(out.ID, true)
	}},
	{"nothing is left of a running batch that was deleted", func(e *env) {
		b := e.running(4, 4)
		e.work(b, 0, 4)
		input, err := e.s.File(e.Context(), tenant, b.InputFileID)
		e.ok(err)
		e.discard(b)
		equal(e, "garbage", e.collectGarbage(), []string{input.Key})
		for {
			n, err := e.s.DropWork(e.Context(), 100)
			e.ok(err)
			if n == 0 {
				break
			}
		}
		equal(e, "slices", e.slices(b), nil)
		e.db.Advance(2 * time.Hour)
		n, err := e.s.Forget(e.Context(), 100)
		e.ok(err)
		equal(e, "rows forgotten", n, 2) // the batch and its input
		_, more, err := e.s.Batches(e.Context(), tenant, batch.BatchQuery{After: b.ID, Limit: 1})
		e.is(err, batch.ErrBadCursor)
		equal(e, "more", more, false)
	}},
	{"a running batch is deleted without its input", func(e *env) {
		first := e.running(1)
		second := e.batch(func(n *batch.NewBatch) { n.InputFileID = first.InputFileID })
		_, err := e.s.DeleteBatch(e.Context(), tenant, first.ID, batch.Deletion{Input: true})
		e.ok(err)
		e.fileGone(first.InputFileID, false) // the other batch has it
		_, err = e.s.DeleteBatch(e.Context(), tenant, second.ID, batch.Deletion{})
		e.ok(err)
		e.fileGone(first.InputFileID, false)
		// A file that was deleted while its batch ran is removed with the batch.
		third := e.running(1)
		e.ok(e.s.DeleteFile(e.Context(), tenant, third.InputFileID))
		equal(e, "garbage", e.garbage(), nil)
		_, err = e.s.DeleteBatch(e.Context(), tenant, third.ID, batch.Deletion{})
		e.ok(err)
		equal(e, "garbage at the end", len(e.garbage()), 1)
	}},
	{"the input goes with the last batch that uses it", func(e *env) {
		first := e.failed()
		second := e.completed(func(b *batch.NewBatch) { b.InputFileID = first.InputFileID })
		e.drop(first, true)
		e.fileGone(first.InputFileID, false)
		e.drop(second, true)
		e.fileGone(first.InputFileID, true)
	}},
	{"deleting with results that are gone already", func(e *env) {
		b := e.completed(nil)
		e.ok(e.s.DeleteFile(e.Context(), tenant, b.OutputFileID))
		e.ok(e.s.DeleteFile(e.Context(), tenant, b.InputFileID))
		e.drop(b, true)
	}},
	{"an input of another tenant is left alone", func(e *env) {
		theirs := e.file(func(f *batch.NewFile) { f.Tenant = "rival" })
		b := e.batch(func(b *batch.NewBatch) { b.InputFileID = theirs.ID })
		_, err := e.s.InputFile(e.Context(), b.ID)
		e.is(err, batch.ErrNotFound)
		e.ok(e.s.FailBatch(e.Context(), e.claimBatch(b.ID), nil))
		e.drop(e.get(b), true)
		_, err = e.s.File(e.Context(), "rival", theirs.ID)
		e.ok(err)
	}},
	{"a deleted input serves the batches that have it", func(e *env) {
		b := e.batch(nil)
		input, err := e.s.File(e.Context(), tenant, b.InputFileID)
		e.ok(err)
		e.ok(e.s.DeleteFile(e.Context(), tenant, input.ID))
		e.fileGone(input.ID, true)
		late := e.batch(func(n *batch.NewBatch) { n.InputFileID = input.ID })
		_, err = e.s.InputFile(e.Context(), late.ID)
		e.is(err, batch.ErrNotFound)

		kept := func(status batch.Status) {
			e.Helper()
			equal(e, "status", e.get(b).Status, status)
			got, err := e.s.InputFile(e.Context(), b.ID)
			e.ok(err)
			equal(e, "input", got, input)
			equal(e, "garbage", e.garbage(), nil)
		}
		kept(batch.Validating)
		e.start(b, 1)
		kept(batch.InProgress)
		e.work(b, 0, 1)
		kept(batch.Finalizing)
		claim := e.claimOf(b)
		e.cancel(b)
		kept(batch.Cancelling)
		e.is(e.s.FinishBatch(e.Context(), claim, batch.Outcome{}), batch.ErrStale)
		e.finish(b, batch.Outcome{})
		equal(e, "garbage at the end", e.collectGarbage(), []string{input.Key})
		_, err = e.s.InputFile(e.Context(), "batch_unknown")
		e.is(err, batch.ErrNotFound)
	}},
	{"an expired input serves the batches that have it", func(e *env) {
		input := e.file(func(f *batch.NewFile) { f.TTL = time.Hour })
		b := e.start(e.batch(func(n *batch.NewBatch) { n.InputFileID = input.ID }), 1)
		e.db.Advance(2 * time.Hour)
		e.fileGone(input.ID, true)
		got, err := e.s.InputFile(e.Context(), b.ID)
		e.ok(err)
		equal(e, "input", got, input)
		equal(e, "garbage", e.garbage(), nil)
		e.work(b, 0, 1)
		e.finish(b, batch.Outcome{})
		equal(e, "garbage at the end", e.garbage(), []string{input.Key})
	}},
}
