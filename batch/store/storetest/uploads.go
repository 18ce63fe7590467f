package storetest

import (
	"time"

	"github.com/tidegate/tidegate/batch"
)

// upload makes a pending upload that lives an hour.
func (e *env) upload() batch.Upload {
	e.Helper()
	u, err := e.s.CreateUpload(e.Context(), batch.Upload{
		ID: e.id("upload_"), Tenant: tenant, Filename: "big.jsonl", Purpose: "batch", MimeType: "application/jsonl", Bytes: 30, FileTTL: 2 * time.Hour,
	}, time.Hour)
	e.ok(err)
	return u
}

// part adds a part.
func (e *env) part(u batch.Upload) batch.UploadPart {
	e.Helper()
	id := e.id("part_")
	p, err := e.s.AddPart(e.Context(), tenant, batch.UploadPart{ID: id, UploadID: u.ID, Key: "content-" + id, Bytes: 10})
	e.ok(err)
	return p
}

// over checks that an ended upload accepts no change.
func (e *env) over(u batch.Upload) {
	e.Helper()
	_, err := e.s.AddPart(e.Context(), tenant, batch.UploadPart{ID: e.id("part_"), UploadID: u.ID, Key: e.id("late-"), Bytes: 1})
	e.is(err, batch.ErrConflict)
	late := e.newFile()
	_, _, err = e.s.CompleteUpload(e.Context(), tenant, u.ID, late)
	e.is(err, batch.ErrConflict)
	_, err = e.s.File(e.Context(), tenant, late.ID)
	e.is(err, batch.ErrNotFound)
}

var uploadTests = []test{
	{"an upload is what was made", func(e *env) {
		before := e.now()
		u := e.upload()
		e.during("created at", u.CreatedAt, before, e.now())
		equal(e, "upload", u, batch.Upload{
			ID: u.ID, Tenant: tenant, Filename: "big.jsonl", Purpose: "batch", MimeType: "application/jsonl", Bytes: 30, FileTTL: 2 * time.Hour,
			Status: batch.UploadPending, CreatedAt: u.CreatedAt, ExpiresAt: u.CreatedAt.Add(time.Hour),
		})
		again, err := e.s.Upload(e.Context(), tenant, u.ID)
		e.ok(err)
		equal(e, "upload read", again, u)
	}},
	{"parts come in the order asked for", func(e *env) {
		u := e.upload()
		a, b, c := e.part(u), e.part(u), e.part(u)
		got, err := e.s.Parts(e.Context(), tenant, u.ID, []string{c.ID, a.ID, b.ID})
		e.ok(err)
		equal(e, "parts", got, []batch.UploadPart{c, a, b})
		got, err = e.s.Parts(e.Context(), tenant, u.ID, nil)
		e.ok(err)
		equal(e, "no parts", got, nil)
	}},
	{"uploads and parts are counted", func(e *env) {
		before, err := e.s.OpenUploads(e.Context(), tenant)
		e.ok(err)
		u, cancelled := e.upload(), e.upload()
		e.part(u)
		e.part(u)
		e.part(cancelled)
		_, err = e.s.CancelUpload(e.Context(), tenant, cancelled.ID)
		e.ok(err)
		open, err := e.s.OpenUploads(e.Context(), tenant)
		e.ok(err)
		equal(e, "open uploads", open-before, 1)
		parts, err := e.s.CountParts(e.Context(), tenant, u.ID)
		e.ok(err)
		equal(e, "parts", parts, 2)
		theirs, err := e.s.OpenUploads(e.Context(), rival)
		e.ok(err)
		equal(e, "open uploads of another tenant", theirs, 0)
		_, err = e.s.CountParts(e.Context(), rival, u.ID)
		e.is(err, batch.ErrNotFound)
	}},
	{"a part of another upload is not found", func(e *env) {
		u, other := e.upload(), e.upload()
		mine, theirs := e.part(u), e.part(other)
		_, err := e.s.Parts(e.Context(), tenant, u.ID, []string{mine.ID, theirs.ID})
		e.is(err, batch.ErrNotFound)
		_, err = e.s.Parts(e.Context(), tenant, u.ID, []string{"part_unknown"})
		e.is(err, batch.ErrNotFound)
	}},
	{"an unknown upload is not found", func(e *env) {
		_, err := e.s.Upload(e.Context(), tenant, "upload_unknown")
		e.is(err, batch.ErrNotFound)
		_, err = e.s.AddPart(e.Context(), tenant, batch.UploadPart{ID: "part_1", UploadID: "upload_unknown", Key: "k"})
		e.is(err, batch.ErrNotFound)
		_, err = e.s.Parts(e.Context(), tenant, "upload_unknown", nil)
		e.is(err, batch.ErrNotFound)
		_, _, err = e.s.CompleteUpload(e.Context(), tenant, "upload_unknown", e.newFile())
		e.is(err, batch.ErrNotFound)
		_, err = e.s.CancelUpload(e.Context(), tenant, "upload_unknown")
		e.is(err, batch.ErrNotFound)
	}},
	{"completing makes the file and ends the upload", func(e *env) {
		u := e.upload()
		p := e.part(u)
		done, f, err := e.s.CompleteUpload(e.Context(), tenant, u.ID, e.newFile())
		e.ok(err)
		u.Status, u.FileID = batch.UploadCompleted, f.ID
		equal(e, "upload", done, u)
		again, err := e.s.Upload(e.Context(), tenant, u.ID)
		e.ok(err)
		equal(e, "upload read", again, u)
		read, err := e.s.File(e.Context(), tenant, f.ID)
		e.ok(err)
		equal(e, "file", read, f)
		e.over(u)
		_, err = e.s.CancelUpload(e.Context(), tenant, u.ID)
		e.is(err, batch.ErrConflict)
		equal(e, "garbage", e.garbage(), []string{p.Key})
	}},
	{"a file can take over the content of its part", func(e *env) {
		u := e.upload()
		p := e.part(u)
		n := e.newFile()
		n.Key = p.Key
		_, f, err := e.s.CompleteUpload(e.Context(), tenant, u.ID, n)
		e.ok(err)
		equal(e, "garbage", e.garbage(), nil)
		e.ok(e.s.DeleteFile(e.Context(), tenant, f.ID))
		equal(e, "garbage once the file is deleted", e.collectGarbage(), []string{p.Key})
		equal(e, "garbage once it is collected", e.garbage(), nil)
	}},
	{"a completion that fails leaves the upload pending", func(e *env) {
		u := e.upload()
		n := e.newFile()
		n.ID = e.file(nil).ID
		if _, _, err := e.s.CompleteUpload(e.Context(), tenant, u.ID, n); err == nil {
			e.Fatal("two files have one id")
		}
		again, err := e.s.Upload(e.Context(), tenant, u.ID)
		e.ok(err)
		equal(e, "upload", again, u)
	}},
	{"cancelling can be repeated", func(e *env) {
		u := e.upload()
		p := e.part(u)
		equal(e, "garbage while pending", e.garbage(), nil)
		u.Status = batch.UploadCancelled
		for range 2 {
			got, err := e.s.CancelUpload(e.Context(), tenant, u.ID)
			e.ok(err)
			equal(e, "upload", got, u)
		}
		e.over(u)
		equal(e, "garbage", e.garbage(), []string{p.Key})
	}},
	{"an upload whose time is over is expired", func(e *env) {
		u := e.upload()
		p := e.part(u)
		e.db.Advance(time.Hour)
		u.Status = batch.UploadExpired
		check := func() {
			got, err := e.s.Upload(e.Context(), tenant, u.ID)
			e.ok(err)
			equal(e, "upload", got, u)
			e.over(u)
			_, err = e.s.CancelUpload(e.Context(), tenant, u.ID)
			e.is(err, batch.ErrConflict)
		}
		check()
		n, err := e.s.ExpireUploads(e.Context(), 10)
		e.ok(err)
		equal(e, "expired uploads", n, 1)
		check()
		n, err = e.s.ExpireUploads(e.Context(), 10)
		e.ok(err)
		equal(e, "expired uploads, again", n, 0)
		equal(e, "garbage", e.garbage(), []string{p.Key})
	}},
	{"expiring is bounded and spares the others", func(e *env) {
		for range 5 {
			e.upload()
		}
		e.db.Advance(30 * time.Minute)
		young := e.upload()
		e.db.Advance(30 * time.Minute)
		for _, want := range []int{2, 2, 1, 0} {
			n, err := e.s.ExpireUploads(e.Context(), 2)
			e.ok(err)
			equal(e, "expired uploads", n, want)
		}
		e.part(young)
	}},
}
