package storetest

import (
	"slices"

	"github.com/tidegate/tidegate/batch"
)

const rival = "rival"

var tenantTests = []test{
	{"another tenant's files do not exist", func(e *env) {
		f := e.file(nil)
		_, err := e.s.File(e.Context(), rival, f.ID)
		e.is(err, batch.ErrNotFound)
		e.is(e.s.DeleteFile(e.Context(), rival, f.ID), batch.ErrNotFound)
		page, more, err := e.s.Files(e.Context(), rival, batch.FileQuery{Limit: 10})
		e.ok(err)
		equal(e, "page", page, nil)
		equal(e, "more", more, false)
		page, _, err = e.s.Files(e.Context(), rival, batch.FileQuery{Limit: 10, Purpose: f.Purpose, Ascending: true})
		e.ok(err)
		equal(e, "page of a purpose", page, nil)
		_, _, err = e.s.Files(e.Context(), rival, batch.FileQuery{After: f.ID, Limit: 10})
		e.is(err, batch.ErrBadCursor)
		e.fileGone(f.ID, false)
	}},
	{"another tenant's uploads do not exist", func(e *env) {
		u := e.upload()
		p := e.part(u)
		_, err := e.s.Upload(e.Context(), rival, u.ID)
		e.is(err, batch.ErrNotFound)
		_, err = e.s.AddPart(e.Context(), rival, batch.UploadPart{ID: "part_theirs", UploadID: u.ID, Key: "theirs"}, batch.Quota{})
		e.is(err, batch.ErrNotFound)
		_, err = e.s.Parts(e.Context(), rival, u.ID, []string{p.ID})
		e.is(err, batch.ErrNotFound)
		_, _, err = e.s.CompleteUpload(e.Context(), rival, u.ID, e.newFile())
		e.is(err, batch.ErrNotFound)
		_, err = e.s.CancelUpload(e.Context(), rival, u.ID)
		e.is(err, batch.ErrNotFound)
		again, err := e.s.Upload(e.Context(), tenant, u.ID)
		e.ok(err)
		equal(e, "upload", again, u)
	}},
	{"another tenant's batches do not exist", func(e *env) {
		b, ended := e.running(1), e.failed()
		for _, id := range []string{b.ID, ended.ID} {
			_, err := e.s.Batch(e.Context(), rival, id)
			e.is(err, batch.ErrNotFound)
			got, err := e.s.CancelBatch(e.Context(), rival, id)
			e.is(err, batch.ErrNotFound)
			equal(e, "batch returned", got, batch.Batch{})
			got, err = e.s.DeleteBatch(e.Context(), rival, id, batch.Deletion{Input: true})
			e.is(err, batch.ErrNotFound)
			equal(e, "batch returned", got, batch.Batch{})
			_, _, err = e.s.Batches(e.Context(), rival, batch.BatchQuery{After: id, Limit: 10})
			e.is(err, batch.ErrBadCursor)
		}
		page, more, err := e.s.Batches(e.Context(), rival, batch.BatchQuery{Limit: 10})
		e.ok(err)
		equal(e, "page", page, nil)
		equal(e, "more", more, false)
		equal(e, "batch", e.get(b), b)
		equal(e, "ended batch", e.get(ended), ended)
	}},
	{"pages have a tenant's own only", func(e *env) {
		var files, batches []string
		for range 5 {
			theirs := e.file(func(f *batch.NewFile) { f.Tenant = rival })
			b := e.batch(nil)
			e.batch(func(n *batch.NewBatch) { n.Tenant, n.InputFileID = rival, theirs.ID })
			files = append([]string{e.file(nil).ID}, files...)
			e.ok(e.s.DeleteFile(e.Context(), tenant, b.InputFileID))
			batches = append([]string{b.ID}, batches...)
		}
		var got []string
		page, more, err := e.s.Batches(e.Context(), tenant, batch.BatchQuery{Limit: 5})
		e.ok(err)
		equal(e, "more batches", more, false)
		for _, b := range page {
			got = append(got, b.ID)
		}
		equal(e, "batches", got, batches)
		var listed []string
		for _, id := range e.listFiles(batch.FileQuery{Limit: 100}) {
			if id == files[len(listed)] {
				listed = append(listed, id)
			}
			if len(listed) == len(files) {
				break
			}
		}
		equal(e, "files", listed, files)
		page2, _, err := e.s.Files(e.Context(), tenant, batch.FileQuery{Limit: 100})
		e.ok(err)
		for _, f := range page2 {
			equal(e, "tenant", f.Tenant, tenant)
		}
	}},
	{"pages of all tenants have everything once", func(e *env) {
		var files, batches []string
		for i := range 7 {
			owner := []string{tenant, rival}[i%2]
			f := e.file(func(n *batch.NewFile) { n.Tenant = owner })
			b := e.batch(func(n *batch.NewBatch) { n.Tenant, n.InputFileID = owner, f.ID })
			e.file(func(n *batch.NewFile) { n.Tenant, n.Purpose = batch.IndexTenant(owner), batch.PurposeIndex })
			if batches = append(batches, b.ID); i == 3 {
				e.ok(e.s.DeleteFile(e.Context(), owner, f.ID))
				continue
			}
			files = append(files, f.ID)
		}
		slices.Reverse(batches)
		var got []string
		owners := make(map[string]int)
		for after, more := "", true; more; {
			var page []batch.Batch
			var err error
			page, more, err = e.s.Batches(e.Context(), batch.AllTenants, batch.BatchQuery{After: after, Limit: 2})
			e.ok(err)
			for _, b := range page {
				got, after = append(got, b.ID), b.ID
				owners[b.Tenant]++
			}
		}
		equal(e, "batches", got, batches)
		equal(e, "owners", owners, map[string]int{tenant: 4, rival: 3})
		for _, q := range []batch.FileQuery{{Ascending: true}, {Ascending: true, Purpose: "batch"}, {}, {Purpose: "batch"}} {
			got, q.Limit = nil, 2
			for more := true; more; {
				var page []batch.File
				var err error
				page, more, err = e.s.Files(e.Context(), batch.AllTenants, q)
				e.ok(err)
				for _, f := range page {
					got, q.After = append(got, f.ID), f.ID
					equal(e, "purpose", f.Purpose, "batch")
				}
			}
			if !q.Ascending {
				slices.Reverse(got)
			}
			got = slices.DeleteFunc(got, func(id string) bool { return !slices.Contains(files, id) }) // others are of the batches
			equal(e, "files", got, files)
		}
		_, _, err := e.s.Files(e.Context(), batch.AllTenants, batch.FileQuery{After: "file-none", Limit: 1})
		e.is(err, batch.ErrBadCursor)
		_, _, err = e.s.Batches(e.Context(), batch.AllTenants, batch.BatchQuery{After: "batch_none", Limit: 1})
		e.is(err, batch.ErrBadCursor)
	}},
	{"another tenant's batch does not keep an input", func(e *env) {
		b := e.failed()
		theirs := e.batch(func(n *batch.NewBatch) { n.Tenant, n.InputFileID = rival, b.InputFileID })
		_, err := e.s.InputFile(e.Context(), theirs.ID)
		e.is(err, batch.ErrNotFound)
		e.drop(b, true)
		e.fileGone(b.InputFileID, true)
		equal(e, "garbage", len(e.garbage()), 1)
	}},
	{"usage is a tenant's own", func(e *env) {
		theirs := live(5)
		theirs.Tenant = rival
		e.add(live(2), theirs)
		equal(e, "usage", e.usage(tenant), []batch.UsageRecord{live(2)})
		equal(e, "their usage", e.usage(rival), []batch.UsageRecord{theirs})
		equal(e, "usage without a tenant", e.usage(""), nil)
	}},
}
