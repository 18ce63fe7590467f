package storetest

import (
	"slices"
	"time"

	"github.com/tidegate/tidegate/batch"
)

// forget calls Forget until no row is left, and returns the number of removed rows.
func (e *env) forget() int {
	e.Helper()
	total := 0
	for {
		n, err := e.s.Forget(e.Context(), 100)
		e.ok(err)
		if n == 0 {
			return total
		}
		total += n
	}
}

// dropWork calls DropWork until no row is left.
func (e *env) dropWork() int {
	e.Helper()
	total := 0
	for {
		n, err := e.s.DropWork(e.Context(), 100)
		e.ok(err)
		if n == 0 {
			return total
		}
		total += n
	}
}

// unknown returns the keys that no row refers to.
func (e *env) unknown(keys ...string) []string {
	e.Helper()
	got, err := e.s.UnknownKeys(e.Context(), keys)
	e.ok(err)
	return got
}

var collectTests = []test{
	{"place of contents", func(e *env) {
		place := func(want string) {
			e.Helper()
			got, err := e.s.Place(e.Context())
			e.ok(err)
			equal(e, "place", got, want)
		}
		place("")
		e.ok(e.s.SetPlace(e.Context(), "local A"))
		place("local A")
		e.ok(e.s.SetPlace(e.Context(), "local B"))
		e.reopen()
		place("local B")
	}},
	{"contents that are needed", func(e *env) {
		first, deleted := e.file(nil), e.file(nil)
		expiring := e.file(func(f *batch.NewFile) { f.TTL = time.Hour })
		b := e.running(1) // with a separate file
		last := e.file(nil)
		needed := func(before int64, limit int) (keys []string, at int64) {
			e.Helper()
			page, err := e.s.NeededContents(e.Context(), before, limit)
			e.ok(err)
			for _, c := range page {
				keys, at = append(keys, c.Key), c.Seq
			}
			return keys, at
		}
		input, err := e.s.InputFile(e.Context(), b.ID)
		e.ok(err)
		keys, _ := needed(0, 100)
		equal(e, "all, newest first", keys, []string{last.Key, input.Key, expiring.Key, deleted.Key, first.Key})
		keys, at := needed(0, 2)
		equal(e, "a page", keys, []string{last.Key, input.Key})
		keys, at = needed(at, 2)
		equal(e, "the next page", keys, []string{expiring.Key, deleted.Key})
		keys, at = needed(at, 2)
		equal(e, "the last page", keys, []string{first.Key})
		keys, _ = needed(at, 2)
		equal(e, "after the last page", keys, nil)

		e.ok(e.s.DeleteFile(e.Context(), tenant, deleted.ID))
		e.ok(e.s.DeleteFile(e.Context(), tenant, input.ID))
		e.db.Advance(time.Hour)
		keys, _ = needed(0, 100)
		equal(e, "without what is deleted or expired, with the input of a batch that runs", keys, []string{last.Key, input.Key, first.Key})
	}},
	{"unknown contents are remembered until they are not named any more", func(e *env) {
		noted := func(keys ...string) map[string]time.Time {
			e.Helper()
			list, err := e.s.Quarantine(e.Context(), keys)
			e.ok(err)
			since := make(map[string]time.Time, len(list))
			for _, c := range list {
				since[c.Key] = c.Since
			}
			return since
		}
		before := e.now()
		first := noted("a", "b", "a")
		if len(first) != 2 {
			e.Fatalf("noted %v, want a and b", first)
		}
		e.during("noted", first["a"], before, e.now())
		e.db.Advance(time.Hour)
		equal(e, "noted again", noted("a")["a"], first["a"])
		e.ok(e.s.PruneQuarantine(e.Context(), first["b"].Add(time.Minute))) // b was not named since
		e.reopen()
		again := noted("a", "b")
		equal(e, "still remembered", again["a"], first["a"])
		if !again["b"].After(first["b"]) {
			e.Errorf("b is noted since %s, want a time after %s", again["b"], first["b"])
		}
		equal(e, "nothing", len(noted()), 0)
	}},
	{"batches expire when their time is over", func(e *env) {
		long := e.start(e.batch(func(n *batch.NewBatch) { n.Window = 48 * time.Hour }), 1)
		b := e.running(4)
		c := e.claim(b, 0)
		e.commit(c, 0)
		e.db.Advance(24*time.Hour - 10*time.Second)
		e.expire()
		e.db.Advance(10 * time.Second)
		want := e.get(b)
		before := e.now()
		e.expire(b.ID)
		got := e.get(b)
		e.during("finalizing at", got.FinalizingAt, before, e.now())
		want.Status, want.Ending, want.FinalizingAt = batch.Finalizing, batch.Expired, got.FinalizingAt
		equal(e, "batch", got, want)
		stale, err := e.s.CommitResults(e.Context(), []batch.SegmentWrite{write(c, 0, 1)})
		e.ok(err)
		equal(e, "stale claims", stale, []batch.SliceClaim{c})
		lost, err := e.s.RenewSlices(e.Context(), []batch.SliceClaim{c}, lease)
		e.ok(err)
		equal(e, "lost claims", lost, []batch.SliceClaim{c})
		claimed, err := e.s.ClaimSlices(e.Context(), batch.Claimant{Owner: "worker", Lease: lease}, refs(b, 0))
		e.ok(err)
		equal(e, "claimed", claimed, nil)
		e.expire()
		equal(e, "the other batch", e.get(long), long)
	}},
	{"only running batches expire", func(e *env) {
		validating := e.batch(nil)
		claim := e.claimBatch(validating.ID)
		cancelling := e.cancel(e.batch(nil))
		finalizing := e.running(1)
		e.work(finalizing, 0, 1)
		finalizing = e.get(finalizing)
		e.db.Advance(48 * time.Hour)
		e.expire()
		for _, b := range []batch.Batch{validating, cancelling, finalizing} {
			equal(e, "batch", e.get(b), b)
		}
		e.ok(e.s.StartBatch(e.Context(), claim, plan(1))) // and then it does
		e.expire(validating.ID)
	}},
	{"expiring is bounded, the longest overdue first", func(e *env) {
		var want []string
		for i := range 5 {
			b := e.start(e.batch(func(n *batch.NewBatch) { n.Window = time.Duration(5-i) * time.Hour }), 1)
			want = append([]string{b.ID}, want...)
		}
		e.db.Advance(5 * time.Hour)
		var got []string
		for _, n := range []int{2, 2, 1, 0} {
			ids, err := e.s.ExpireBatches(e.Context(), 2)
			e.ok(err)
			equal(e, "expired at once", len(ids), n)
			slices.SortFunc(ids, func(a, b string) int { return slices.Index(want, a) - slices.Index(want, b) })
			got = append(got, ids...)
		}
		equal(e, "expired batches", got, want)
	}},
	{"work is dropped once the batch has ended", func(e *env) {
		b := e.running(2, 2, 2)
		other := e.running(2)
		e.commit(e.claim(other, 0), 1)
		for number := range 3 {
			c := e.claim(b, number)
			e.commit(c, 0)
			e.commit(c, 1)
		}
		equal(e, "dropped while finalizing", e.dropWork(), 0)
		want := e.finish(b, batch.Outcome{})
		for {
			n, err := e.s.DropWork(e.Context(), 4)
			e.ok(err)
			if n > 4 {
				e.Fatalf("got %d dropped rows, want at most 4", n)
			}
			if n == 0 {
				break
			}
		}
		equal(e, "slices", e.slices(b), nil)
		equal(e, "results", e.results(b, 0), nil)
		equal(e, "batch", e.get(b), want)
		equal(e, "slices of the other batch", len(e.slices(other)), 1)
		equal(e, "results of the other batch", len(e.results(other, 0)), 1)
		stale, err := e.s.CommitResults(e.Context(), []batch.SegmentWrite{write(batch.SliceClaim{SliceRef: refs(b, 0)[0], Attempt: 1}, 0)})
		e.ok(err)
		equal(e, "stale claims", len(stale), 1)
	}},
	{"work of every terminal batch is dropped", func(e *env) {
		e.completed(nil)
		e.finish(e.cancel(e.running(1, 1)), batch.Outcome{})
		e.expired()
		e.failed()
		if n := e.dropWork(); n != 5 { // 4 slices and a segment
			e.Fatalf("dropped %d rows, want 5", n)
		}
	}},
	{"the life of a file's content", func(e *env) {
		f := e.file(nil)
		equal(e, "garbage at first", e.garbage(), nil)
		equal(e, "unknown at first", e.unknown(f.Key, "stray"), []string{"stray"})
		e.ok(e.s.DeleteFile(e.Context(), tenant, f.ID))
		for range 2 { // a cleaner that crashed repeats the call
			equal(e, "garbage once deleted", e.garbage(), []string{f.Key})
		}
		equal(e, "unknown once deleted", e.unknown(f.Key), nil)
		e.db.Advance(2 * time.Hour)
		equal(e, "forgotten before it is collected", e.forget(), 0)
		e.ok(e.s.Collected(e.Context(), []string{f.Key, "stray"}))
		equal(e, "garbage once collected", e.garbage(), nil)
		equal(e, "forgotten", e.forget(), 1)
		equal(e, "unknown once forgotten", e.unknown(f.Key), []string{f.Key})
	}},
	{"expired files are garbage", func(e *env) {
		f := e.file(func(f *batch.NewFile) { f.TTL = time.Hour })
		kept := e.file(func(f *batch.NewFile) { f.TTL = 10 * time.Hour })
		e.db.Advance(time.Hour)
		equal(e, "garbage", e.collectGarbage(), []string{f.Key})
		equal(e, "forgotten at once", e.forget(), 0)
		e.db.Advance(time.Hour)
		equal(e, "forgotten an hour later", e.forget(), 1)
		e.fileGone(kept.ID, false)
	}},
	{"what is listed as garbage is no input any more", func(e *env) {
		f := e.file(func(f *batch.NewFile) { f.TTL = time.Hour })
		e.db.Advance(time.Hour)
		equal(e, "garbage", e.garbage(), []string{f.Key})
		// The view of a creation that read the clock earlier.
		e.db.Advance(-time.Minute)
		e.fileGone(f.ID, true)
		b := e.batch(func(n *batch.NewBatch) { n.InputFileID = f.ID })
		_, err := e.s.InputFile(e.Context(), b.ID)
		e.is(err, batch.ErrNotFound)
		e.db.Advance(time.Minute)
		equal(e, "garbage again", e.collectGarbage(), []string{f.Key})
		equal(e, "garbage once collected", e.garbage(), nil)
		e.db.Advance(time.Hour)
		equal(e, "forgotten", e.forget(), 1)
	}},
	{"a row stays for an hour after its deletion", func(e *env) {
		f := e.file(nil)
		e.ok(e.s.DeleteFile(e.Context(), tenant, f.ID))
		e.collectGarbage()
		e.db.Advance(time.Hour - time.Second)
		equal(e, "forgotten early", e.forget(), 0)
		e.db.Advance(time.Second)
		equal(e, "forgotten", e.forget(), 1)
	}},
	{"garbage and forgetting are bounded", func(e *env) {
		u := e.upload()
		want := []string{e.part(u).Key, e.part(u).Key}
		for range 5 {
			f := e.file(nil)
			want = append(want, f.Key)
			e.ok(e.s.DeleteFile(e.Context(), tenant, f.ID))
		}
		_, err := e.s.CancelUpload(e.Context(), tenant, u.ID)
		e.ok(err)
		var got []string
		for _, n := range []int{3, 3, 1, 0} {
			keys, err := e.s.Garbage(e.Context(), 3)
			e.ok(err)
			equal(e, "keys at once", len(keys), n)
			e.ok(e.s.Collected(e.Context(), keys))
			got = append(got, keys...)
		}
		slices.Sort(got)
		slices.Sort(want)
		equal(e, "garbage", got, want)
		e.db.Advance(time.Hour)
		forgotten := 0
		for {
			n, err := e.s.Forget(e.Context(), 2)
			e.ok(err)
			if n == 0 {
				break
			}
			forgotten += n
		}
		if forgotten < 6 {
			e.Fatalf("%d rows were forgotten, want 5 files and an upload", forgotten)
		}
	}},
	{"the life of an upload", func(e *env) {
		u := e.upload()
		a, b := e.part(u), e.part(u)
		equal(e, "unknown while pending", e.unknown(a.Key, b.Key), nil)
		_, f, err := e.s.CompleteUpload(e.Context(), tenant, u.ID, e.newFile())
		e.ok(err)
		e.ok(e.s.Collected(e.Context(), []string{a.Key}))
		e.db.Advance(2 * time.Hour)
		equal(e, "forgotten while a part is there", e.forget(), 0)
		equal(e, "unknown while its upload is there", e.unknown(a.Key, b.Key), nil)
		e.ok(e.s.Collected(e.Context(), []string{b.Key}))
		if e.forget() == 0 {
			e.Fatal("the upload is not forgotten")
		}
		_, err = e.s.Upload(e.Context(), tenant, u.ID)
		e.is(err, batch.ErrNotFound)
		equal(e, "unknown at the end", e.unknown(a.Key, b.Key, f.Key), []string{a.Key, b.Key})
		e.fileGone(f.ID, false)
	}},
	{"a pending upload is not forgotten", func(e *env) {
		u, err := e.s.CreateUpload(e.Context(), batch.Upload{ID: "upload_long", Tenant: tenant, Purpose: "batch"}, 10*time.Hour, batch.Quota{})
		e.ok(err)
		e.db.Advance(5 * time.Hour)
		equal(e, "forgotten", e.forget(), 0)
		e.part(u)
	}},
	{"a deleted batch is forgotten an hour later, when its work is dropped", func(e *env) {
		n := e.newBatch()
		n.IdempotencyKey, n.RequestHash = "k", "h"
		b := e.completed(func(b *batch.NewBatch) { *b = n })
		kept := e.completed(nil)
		e.drop(b, true)
		e.collectGarbage()
		e.db.Advance(time.Hour - time.Second)
		e.forget()
		_, _, err := e.s.Batches(e.Context(), tenant, batch.BatchQuery{After: b.ID, Limit: 1})
		e.ok(err)
		e.db.Advance(time.Second)
		e.forget()
		e.dropWork()
		e.forget()
		_, _, err = e.s.Batches(e.Context(), tenant, batch.BatchQuery{After: b.ID, Limit: 1})
		e.is(err, batch.ErrBadCursor)
		equal(e, "kept batch", e.get(kept), kept)
		n.ID, n.InputFileID = e.id("batch_"), e.file(nil).ID
		_, created, err := e.s.CreateBatch(e.Context(), n)
		e.ok(err)
		equal(e, "its key is free", created, true)
	}},
	{"nothing to do", func(e *env) {
		e.running(1)
		e.expire()
		equal(e, "dropped", e.dropWork(), 0)
		equal(e, "garbage", e.garbage(), nil)
		e.ok(e.s.Collected(e.Context(), nil))
		equal(e, "forgotten", e.forget(), 0)
		equal(e, "unknown", e.unknown(), nil)
	}},
}
