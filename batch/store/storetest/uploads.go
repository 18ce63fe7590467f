package storetest

import (
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"github.com/tidegate/tidegate/batch"
)

// upload makes a pending upload that lives an hour.
func (e *env) upload() batch.Upload {
	e.Helper()
	u, err := e.s.CreateUpload(e.Context(), batch.Upload{
		ID: e.id("upload_"), Tenant: tenant, Filename: "big.jsonl", Purpose: "batch", MimeType: "application/jsonl", Bytes: 30, FileTTL: 2 * time.Hour,
	}, time.Hour, batch.Quota{})
	e.ok(err)
	return u
}

// part adds a part.
func (e *env) part(u batch.Upload) batch.UploadPart {
	e.Helper()
	id := e.id("part_")
	p, err := e.s.AddPart(e.Context(), tenant, batch.UploadPart{ID: id, UploadID: u.ID, Key: "content-" + id, Bytes: 10}, batch.Quota{})
	e.ok(err)
	return p
}

// over checks that an ended upload accepts no change.
func (e *env) over(u batch.Upload) {
	e.Helper()
	_, err := e.s.AddPart(e.Context(), tenant, batch.UploadPart{ID: e.id("part_"), UploadID: u.ID, Key: e.id("late-"), Bytes: 1}, batch.Quota{})
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
	{"parts are counted", func(e *env) {
		u := e.upload()
		e.part(u)
		e.part(u)
		parts, err := e.s.CountParts(e.Context(), tenant, u.ID)
		e.ok(err)
		equal(e, "parts", parts, 2)
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
		_, err = e.s.AddPart(e.Context(), tenant, batch.UploadPart{ID: "part_1", UploadID: "upload_unknown", Key: "k"}, batch.Quota{})
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

// quotaError returns the *batch.QuotaError of an error, without one the test fails.
func (e *env) quotaError(err error) batch.QuotaError {
	e.Helper()
	refused, ok := errors.AsType[*batch.QuotaError](err)
	if !ok {
		e.Fatalf("got %v, want a *batch.QuotaError", err)
	}
	return *refused
}

// create makes a file of a tenant.
func (e *env) create(owner string, size int64, q batch.Quota) error {
	f := e.newFile()
	f.Tenant, f.Bytes, f.Quota = owner, size, q
	_, err := e.s.CreateFile(e.Context(), f)
	return err
}

func (e *env) stored(owner string) batch.Stored {
	e.Helper()
	uses, err := e.s.Storage(e.Context(), owner)
	e.ok(err)
	return batch.StoredOf(uses)
}

var quotaTests = []test{
	{"a file may exceed no limit", func(e *env) {
		e.ok(e.create(tenant, 60, batch.Quota{}))
		e.ok(e.create(rival, 30, batch.Quota{}))
		equal(e, "stored by all", e.stored(batch.AllTenants), batch.Stored{Files: 2, Bytes: 90})
		all := func(l batch.StorageLimit) batch.Quota { return batch.Quota{All: l} }
		own := func(l batch.StorageLimit) batch.Quota { return batch.Quota{Tenant: l} }
		equal(e, "bytes", e.quotaError(e.create(tenant, 41, own(batch.StorageLimit{Bytes: 100}))), batch.QuotaError{Kind: batch.QuotaBytes, Used: 60, Max: 100})
		equal(e, "files", e.quotaError(e.create(tenant, 1, own(batch.StorageLimit{Files: 1}))), batch.QuotaError{Kind: batch.QuotaFiles, Used: 1, Max: 1})
		equal(e, "bytes of all", e.quotaError(e.create(tenant, 11, all(batch.StorageLimit{Bytes: 100}))), batch.QuotaError{Kind: batch.QuotaBytes, All: true, Used: 90, Max: 100})
		equal(e, "files of all", e.quotaError(e.create(tenant, 1, all(batch.StorageLimit{Files: 2}))), batch.QuotaError{Kind: batch.QuotaFiles, All: true, Used: 2, Max: 2})
		equal(e, "stored after refusals", e.stored(batch.AllTenants), batch.Stored{Files: 2, Bytes: 90})
		e.ok(e.create(tenant, 10, all(batch.StorageLimit{Bytes: 100, Files: 3})))
		e.ok(e.create(tenant, 30, own(batch.StorageLimit{Bytes: 100, Files: 3})))
	}},
	{"an upload and its parts may exceed no limit", func(e *env) {
		begin := func(owner string, size int64, q batch.Quota) (batch.Upload, error) {
			return e.s.CreateUpload(e.Context(), batch.Upload{ID: e.id("upload_"), Tenant: owner, Purpose: "batch", Bytes: size}, time.Hour, q)
		}
		add := func(u batch.Upload, size int64, q batch.Quota) error {
			id := e.id("part_")
			_, err := e.s.AddPart(e.Context(), tenant, batch.UploadPart{ID: id, UploadID: u.ID, Key: "content-" + id, Bytes: size}, q)
			return err
		}
		own := batch.Quota{Tenant: batch.StorageLimit{Bytes: 100, Files: 2, Uploads: 2}, Parts: 3}
		u, err := begin(tenant, 100, own)
		e.ok(err)
		_, err = begin(tenant, 101, own)
		equal(e, "bytes of an upload", e.quotaError(err).Kind, batch.QuotaBytes)
		second, err := begin(tenant, 1, own)
		e.ok(err)
		_, err = begin(tenant, 1, own)
		equal(e, "uploads", e.quotaError(err), batch.QuotaError{Kind: batch.QuotaUploads, Used: 2, Max: 2})
		_, err = begin(rival, 1, batch.Quota{All: batch.StorageLimit{Uploads: 2}})
		equal(e, "uploads of all", e.quotaError(err), batch.QuotaError{Kind: batch.QuotaUploads, All: true, Used: 2, Max: 2})
		_, err = e.s.CancelUpload(e.Context(), tenant, second.ID)
		e.ok(err)
		_, err = begin(rival, 1, batch.Quota{All: batch.StorageLimit{Uploads: 2}})
		e.ok(err)
		e.ok(add(u, 60, own))
		equal(e, "bytes of a part", e.quotaError(add(u, 41, own)).Kind, batch.QuotaBytes)
		e.ok(add(u, 40, own))
		equal(e, "files of a part", e.quotaError(add(u, 1, batch.Quota{Tenant: batch.StorageLimit{Files: 2}})).Kind, batch.QuotaFiles)
		e.ok(add(u, 1, batch.Quota{Parts: 3}))
		equal(e, "parts", e.quotaError(add(u, 1, batch.Quota{Parts: 3})), batch.QuotaError{Kind: batch.QuotaParts, Used: 3, Max: 3})

		f := e.newFile()
		f.Bytes, f.Quota = 102, own
		_, _, err = e.s.CompleteUpload(e.Context(), tenant, u.ID, f)
		equal(e, "bytes beyond those of the upload", e.quotaError(err).Kind, batch.QuotaBytes)
		f.Bytes = 100 // in place of the parts
		_, _, err = e.s.CompleteUpload(e.Context(), tenant, u.ID, f)
		e.ok(err)
		equal(e, "stored", e.stored(tenant), batch.Stored{Files: 1, Bytes: 100})
	}},
	{"concurrent contents exceed no limit together", func(e *env) {
		u := e.upload()
		q := batch.Quota{Tenant: batch.StorageLimit{Bytes: 100}, All: batch.StorageLimit{Bytes: 150, Uploads: 10}, Parts: 5}
		var (
			wg             sync.WaitGroup
			mine, theirs   atomic.Int64
			parts, uploads atomic.Int64
		)
		count := func(n *atomic.Int64, err error) {
			if err == nil {
				n.Add(1)
			} else if _, refused := errors.AsType[*batch.QuotaError](err); !refused {
				e.Error(err)
			}
		}
		for range 25 {
			wg.Go(func() { count(&mine, e.create(tenant, 10, q)) })
			wg.Go(func() { count(&theirs, e.create(rival, 10, q)) })
			wg.Go(func() {
				id := e.id("part_")
				_, err := e.s.AddPart(e.Context(), tenant, batch.UploadPart{ID: id, UploadID: u.ID, Key: id, Bytes: 10}, q)
				count(&parts, err)
			})
			wg.Go(func() {
				_, err := e.s.CreateUpload(e.Context(), batch.Upload{ID: e.id("upload_"), Tenant: rival, Purpose: "batch"}, time.Hour, q)
				count(&uploads, err)
			})
		}
		wg.Wait()
		equal(e, "stored by all", e.stored(batch.AllTenants).Bytes, int64(150))
		if own := e.stored(tenant).Bytes; own > 100 || own != 10*(mine.Load()+parts.Load()) || parts.Load() > 5 {
			e.Errorf("got %d bytes, %d files and %d parts, want at most 100 bytes and 5 parts", own, mine.Load(), parts.Load())
		}
		if stored := e.stored(rival).Bytes; stored > 100 || stored != 10*theirs.Load() {
			e.Errorf("got %d bytes of %d files, want at most 100", stored, theirs.Load())
		}
		equal(e, "uploads", uploads.Load(), int64(9)) // with u
	}},
}
