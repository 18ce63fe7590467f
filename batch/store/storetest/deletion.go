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
	got, err := e.s.DeleteBatch(e.Context(), tenant, b.ID, input)
	e.ok(err)
	equal(e, "deleted batch", got, b)
	_, err = e.s.Batch(e.Context(), tenant, b.ID)
	e.is(err, batch.ErrNotFound)
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
		_, err = e.s.DeleteBatch(e.Context(), tenant, b.ID, false)
		e.is(err, batch.ErrNotFound)
		_, err = e.s.CancelBatch(e.Context(), tenant, b.ID)
		e.is(err, batch.ErrNotFound)
	}},
	{"every terminal batch can be deleted", func(e *env) {
		for _, b := range []batch.Batch{e.failed(), e.cancelled(), e.expired()} {
			e.drop(b, true)
			e.fileGone(b.InputFileID, true)
		}
	}},
	{"a running batch cannot be deleted", func(e *env) {
		running := e.running(1)
		finalizing := e.running(1)
		e.work(finalizing, 0, 1)
		validating := e.batch(nil)
		cancelling := e.batch(nil)
		e.cancel(cancelling)
		for _, b := range []batch.Batch{running, finalizing, validating, cancelling} {
			want := e.get(b)
			got, err := e.s.DeleteBatch(e.Context(), tenant, b.ID, true)
			e.is(err, batch.ErrConflict)
			equal(e, "batch returned", got, want)
			equal(e, "batch", e.get(b), want)
			e.fileGone(b.InputFileID, false)
		}
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
