package storetest

import (
	"context"
	"errors"
	"time"

	"github.com/tidegate/tidegate/batch"
	"github.com/tidegate/tidegate/internal/openai"
)

var openTests = []test{
	{"a store that is not open is unavailable", func(e *env) {
		s := e.db.Store()
		e.is(s.Ping(e.Context()), batch.ErrUnavailable)
		_, err := s.Batch(e.Context(), tenant, "batch_1")
		e.is(err, batch.ErrUnavailable)
		e.ok(s.Close())
	}},
	{"a closed store is unavailable, and can be closed again", func(e *env) {
		e.ok(e.s.Close())
		e.is(e.s.Ping(e.Context()), batch.ErrUnavailable)
		_, err := e.s.CreateFile(e.Context(), batch.NewFile{ID: "file-1", Tenant: tenant, Key: "k"})
		e.is(err, batch.ErrUnavailable)
		_, err = e.s.File(e.Context(), tenant, "file-1")
		e.is(err, batch.ErrUnavailable)
		e.ok(e.s.Close())
	}},
	{"ping answers", func(e *env) { e.ok(e.s.Ping(e.Context())) }},
	{"reopening keeps everything", testReopen},
	{"a newer schema is refused", func(e *env) {
		f := e.file(nil)
		e.ok(e.s.Close())
		e.db.SetSchema(e.T, 4711)
		s := e.db.Store()
		err := s.Open(e.Context())
		e.is(err, batch.ErrNewerSchema)
		contains(e, err.Error(), "4711")
		e.is(s.Ping(e.Context()), batch.ErrUnavailable)
		_, err = s.File(e.Context(), tenant, f.ID)
		e.is(err, batch.ErrUnavailable)
		e.ok(s.Close())
	}},
	{"opening ends leases of an exclusive store only", func(e *env) {
		validating := e.batch(nil)
		old := e.claimBatch(validating.ID)
		e.ok(e.s.StartBatch(e.Context(), old, plan(1, 1)))
		slice := e.claim(validating, 0)
		pending := e.batch(nil)
		claim := e.claimBatch(pending.ID)
		e.reopen()
		numbers, err := e.s.ClaimableSlices(e.Context(), validating.ID, 10)
		e.ok(err)
		lost, err := e.s.RenewSlices(e.Context(), []batch.SliceClaim{slice}, lease)
		e.ok(err)
		_, claimErr := e.s.ClaimBatch(e.Context(), "batch worker", lease, batch.Validate)
		if e.db.Exclusive {
			equal(e, "claimable slices", numbers, []int{0, 1})
			equal(e, "lost claims", lost, []batch.SliceClaim{slice})
			e.ok(claimErr)
			e.is(e.s.RenewBatch(e.Context(), claim, lease), batch.ErrStale)
		} else {
			equal(e, "claimable slices", numbers, []int{1})
			equal(e, "lost claims", lost, nil)
			e.is(claimErr, batch.ErrNotFound)
			e.ok(e.s.RenewBatch(e.Context(), claim, lease))
		}
	}},
	{"a context that has ended changes nothing", func(e *env) {
		b := e.running(2)
		c := e.claim(b, 0)
		ctx, cancel := context.WithCancel(e.Context())
		cancel()
		_, err := e.s.CommitResults(ctx, []batch.SegmentWrite{write(c, 0)})
		e.is(err, context.Canceled)
		_, err = e.s.CancelBatch(ctx, tenant, b.ID)
		e.is(err, context.Canceled)
		_, err = e.s.Batch(ctx, tenant, b.ID)
		e.is(err, context.Canceled)
		late, cancel := context.WithDeadline(e.Context(), time.Now().Add(-time.Second))
		defer cancel()
		e.is(e.s.Ping(late), context.DeadlineExceeded)
		equal(e, "batch", e.get(b), b)
		equal(e, "results", e.results(b, 0), nil)
	}},
	{"the clock is the database's", func(e *env) {
		before := e.now()
		e.db.Advance(time.Hour)
		if after := e.now(); after.Sub(before) < time.Hour {
			e.Fatalf("the clock went from %v to %v", before, after)
		}
	}},
}

// everything is the data that a database returns.
type everything struct {
	Files      []batch.File
	Upload     batch.Upload
	Parts      []batch.UploadPart
	Batches    []batch.Batch
	Slices     map[string][]batch.Slice
	Results    map[string][][]batch.LineResult
	Usage      []batch.UsageRecord
	Garbage    []string
	UnknownKey []string
}

func testReopen(e *env) {
	e.file(func(f *batch.NewFile) {
		f.TTL = time.Hour
		f.Compression = &openai.Compression{Format: "gzip", OriginalSize: 10, DecompressedSize: 35, CompressionRatio: 3.5}
	})
	up, err := e.s.CreateUpload(e.Context(), batch.Upload{ID: "upload_1", Tenant: tenant, Filename: "a.jsonl", Purpose: "batch", Bytes: 7, FileTTL: time.Hour}, time.Hour, batch.Quota{})
	e.ok(err)
	_, err = e.s.AddPart(e.Context(), tenant, batch.UploadPart{ID: "part_1", UploadID: up.ID, Key: "part-key", Bytes: 7}, batch.Quota{})
	e.ok(err)
	e.completed(func(b *batch.NewBatch) { b.Metadata = map[string]string{"b": "2", "a": "1"} })
	e.failed()
	e.cancelled()
	b := e.running(64, 3)
	e.commit(e.claim(b, 0), 0, 63, 5)
	e.commit(e.claim(b, 1), 2)
	gone := e.file(nil)
	e.ok(e.s.DeleteFile(e.Context(), tenant, gone.ID))
	e.ok(e.s.AddUsage(e.Context(), []batch.UsageRecord{{Tenant: tenant, Class: "live", Model: "m", Endpoint: "/v1/x", Requests: 3}}))
	since := e.now().Add(-time.Hour)

	look := func() everything {
		var (
			all  everything
			errs [7]error
		)
		all.Files, _, errs[0] = e.s.Files(e.Context(), tenant, batch.FileQuery{Limit: 100})
		all.Upload, errs[1] = e.s.Upload(e.Context(), tenant, up.ID)
		all.Parts, errs[2] = e.s.Parts(e.Context(), tenant, up.ID, []string{"part_1"})
		all.Batches, _, errs[3] = e.s.Batches(e.Context(), tenant, batch.BatchQuery{Limit: 100})
		all.Usage, errs[4] = e.s.Usage(e.Context(), tenant, since)
		all.Garbage, errs[5] = e.s.Garbage(e.Context(), 100)
		all.UnknownKey, errs[6] = e.s.UnknownKeys(e.Context(), []string{"part-key", gone.Key, "unknown-key"})
		e.ok(errors.Join(errs[:]...))
		all.Slices, all.Results = make(map[string][]batch.Slice), make(map[string][][]batch.LineResult)
		for _, b := range all.Batches {
			all.Slices[b.ID] = e.slices(b)
			for _, s := range all.Slices[b.ID] {
				all.Results[b.ID] = append(all.Results[b.ID], e.results(b, s.Number))
			}
		}
		return all
	}
	before := look()
	if len(before.Results[b.ID]) != 2 || len(before.Batches) != 4 {
		e.Fatalf("test setup is incomplete: %+v", before)
	}
	e.reopen()
	equal(e, "database after reopening", look(), before)
}
