package storetest

import (
	"cmp"
	"fmt"
	"maps"
	"math"
	"slices"
	"time"

	"github.com/tidegate/tidegate/batch"
	"github.com/tidegate/tidegate/internal/openai"
)

// lastDay is the time around now, to both sides.
func (e *env) lastDay() batch.Period {
	now := e.now()
	return batch.Period{From: now.Add(-24 * time.Hour), To: now.Add(time.Hour)}
}

// states counts batches by status.
func (e *env) states() map[batch.Status]int64 {
	e.Helper()
	s, err := e.s.BatchStates(e.Context(), tenant)
	e.ok(err)
	return s
}

// storage returns the sizes of contents by purpose.
func (e *env) storage() map[string]batch.StorageUse {
	e.Helper()
	uses, err := e.s.Storage(e.Context(), tenant)
	e.ok(err)
	by := make(map[string]batch.StorageUse)
	for _, u := range uses {
		by[u.Purpose] = u
	}
	return by
}

// found lists the ids that a filter finds, all pages.
func (e *env) found(f batch.BatchFilter) []string {
	e.Helper()
	if f.Limit == 0 {
		f.Limit = 3
	}
	var ids []string
	for {
		page, err := e.s.FindBatches(e.Context(), tenant, f)
		e.ok(err)
		for _, b := range page.Batches {
			ids = append(ids, b.ID)
		}
		if !page.More {
			return ids
		}
		if page.After == "" || page.After == f.After {
			e.Fatalf("got more after %q, want the next page after %q", f.After, page.After)
		}
		f.After = page.After
	}
}

var analyticsTests = []test{
	{"batches of all tenants by status", func(e *env) {
		e.running(2)
		e.running(2)
		for _, other := range []string{"b", "c"} {
			input := e.file(func(f *batch.NewFile) { f.Tenant = other })
			e.batch(func(n *batch.NewBatch) { n.Tenant, n.InputFileID = other, input.ID })
		}
		got, err := e.s.BatchStates(e.Context(), batch.AllTenants)
		e.ok(err)
		if want := map[batch.Status]int64{batch.InProgress: 2, batch.Validating: 2}; !maps.Equal(got, want) {
			e.Errorf("got %v, want %v", got, want)
		}
		if got := e.states(); got[batch.InProgress] != 2 || got[batch.Validating] != 0 {
			e.Errorf("got %v of one tenant, want its 2 batches", got)
		}
	}},
	{"batches of all tenants are found by every filter, in pages", func(e *env) {
		var all []string // the oldest first
		for i := range 7 {
			b := e.batch(func(n *batch.NewBatch) {
				if i%2 == 1 {
					n.Tenant = rival
					n.InputFileID = e.file(func(f *batch.NewFile) { f.Tenant = rival }).ID
				}
				if i > 2 {
					n.Metadata = map[string]string{"name": "Nightly"}
				}
			})
			all = append(all, b.ID)
			e.db.Advance(time.Minute)
		}
		found := func(f batch.BatchFilter) (ids []string) {
			e.Helper()
			for f.Limit = 2; ; {
				page, err := e.s.FindBatches(e.Context(), batch.AllTenants, f)
				e.ok(err)
				for _, b := range page.Batches {
					ids = append(ids, b.ID)
					owner := tenant
					if slices.Index(all, b.ID)%2 == 1 {
						owner = rival
					}
					equal(e, "tenant", b.Tenant, owner)
				}
				if !page.More {
					return ids
				}
				if page.After == "" || page.After == f.After {
					e.Fatalf("got more after %q, want the next page after %q", f.After, page.After)
				}
				f.After = page.After
			}
		}
		newest := func(ids ...string) []string {
			ids = slices.Clone(ids)
			slices.Reverse(ids)
			return ids
		}
		equal(e, "all", found(batch.BatchFilter{}), newest(all...))
		equal(e, "the oldest first", found(batch.BatchFilter{OldestFirst: true}), all)
		equal(e, "text", found(batch.BatchFilter{Text: "nightly"}), newest(all[3:]...))
		equal(e, "text, the oldest first", found(batch.BatchFilter{Text: "nightly", OldestFirst: true}), all[3:])
		equal(e, "active", found(batch.BatchFilter{Active: true}), newest(all...))
		_, err := e.s.PauseBatch(e.Context(), rival, all[1], "")
		e.ok(err)
		_, err = e.s.PauseBatch(e.Context(), tenant, all[4], "")
		e.ok(err)
		equal(e, "paused", found(batch.BatchFilter{Paused: true}), []string{all[4], all[1]})
		equal(e, "paused and text", found(batch.BatchFilter{Paused: true, Text: "nightly", OldestFirst: true}), []string{all[4]})
		_, err = e.s.DeleteBatch(e.Context(), rival, all[3], batch.Deletion{})
		e.ok(err)
		_, err = e.s.CancelBatch(e.Context(), tenant, all[0])
		e.ok(err)
		left := slices.Delete(slices.Clone(all), 3, 4)
		equal(e, "without a deleted one", found(batch.BatchFilter{}), newest(left...))
		equal(e, "by status", found(batch.BatchFilter{Status: batch.Validating}), newest(left[1:]...))
		equal(e, "a model", found(batch.BatchFilter{Model: "none"}), nil)
		second, err := e.s.Batch(e.Context(), rival, all[1])
		e.ok(err)
		last, err := e.s.Batch(e.Context(), tenant, all[6])
		e.ok(err)
		equal(e, "a period", found(batch.BatchFilter{From: second.CreatedAt, To: last.CreatedAt}), newest(left[1:len(left)-1]...))
	}},
	{"progress by minute", func(e *env) {
		e.toBucket()
		b, other := e.running(8), e.running(8)
		c := e.claim(b, 0)
		begun := e.now().Truncate(time.Minute)
		e.commit(c, 0, 1, 3) // the last one failed
		e.commit(c, 2)
		e.db.Advance(3 * time.Minute)
		e.commit(c, 2, 4)
		e.work(other, 0, 1)
		got, err := e.s.Progress(e.Context(), []string{b.ID, "batch_unknown"}, begun.Add(30*time.Second))
		e.ok(err)
		minutes := got[b.ID]
		equal(e, "batches", len(got), 1)
		equal(e, "minutes", len(minutes), 2)
		equal(e, "first", minutes[0], batch.Minute{At: begun, Completed: 3, Failed: 1})
		equal(e, "second", minutes[1], batch.Minute{At: begun.Add(3 * time.Minute), Completed: 1})
		got, err = e.s.Progress(e.Context(), []string{b.ID}, begun.Add(time.Minute))
		e.ok(err)
		equal(e, "later minutes", got[b.ID], minutes[1:])
		got, err = e.s.Progress(e.Context(), nil, begun)
		e.ok(err)
		equal(e, "of none", len(got), 0)
		_, err = e.s.CancelBatch(e.Context(), tenant, other.ID)
		e.ok(err)
		pace, err := e.s.Pace(e.Context(), begun.Add(time.Minute), 10)
		e.ok(err)
		slices.SortFunc(pace, func(a, b batch.Pace) int { return cmp.Compare(a.BatchID, b.BatchID) })
		last := begun.Add(3 * time.Minute)
		equal(e, "pace", pace, []batch.Pace{{BatchID: b.ID, Model: b.Model, Minute: batch.Minute{At: last, Completed: 1}}, {BatchID: other.ID, Model: other.Model, Minute: batch.Minute{At: last, Completed: 1}}})
		pace, err = e.s.Pace(e.Context(), begun, 2)
		e.ok(err)
		equal(e, "the newest pace", len(pace) == 2 && pace[0].At.Equal(last) && pace[1].At.Equal(last), true)
		pace, err = e.s.Pace(e.Context(), begun, 10)
		e.ok(err)
		equal(e, "all pace", len(pace), 3)
	}},
	{"usage in steps", func(e *env) {
		e.toBucket()
		e.db.Advance(e.now().Truncate(time.Hour).Add(time.Hour).Sub(e.now()))
		begun := e.now().Truncate(bucket)
		batchUse := live(8)
		batchUse.Class, batchUse.Model = "batch", "n"
		e.add(live(1), batchUse)
		e.db.Advance(bucket)
		e.add(live(10))
		e.db.Advance(time.Hour)
		e.add(live(100))
		requests := func(p batch.Period) (out []string) {
			points, err := e.s.UsageSeries(e.Context(), tenant, "", p)
			e.ok(err)
			for _, u := range points {
				out = append(out, fmt.Sprintf("%s %s %d %d", u.At.Sub(begun), u.Class, u.Requests, u.Usage.TotalTokens))
			}
			return out
		}
		equal(e, "by bucket", requests(batch.Period{From: begun, To: begun.Add(2 * time.Hour)}), []string{"0s batch 8 64", "0s live 1 8", "15m0s live 10 80", "1h15m0s live 100 800"})
		equal(e, "by hour", requests(batch.Period{From: begun, To: begun.Add(2 * time.Hour), Step: 50 * time.Minute}), []string{"0s batch 8 64", "0s live 11 88", "1h0m0s live 100 800"})
		equal(e, "a part", requests(batch.Period{From: begun.Add(20 * time.Minute), To: begun.Add(75 * time.Minute)}), []string{"15m0s live 10 80"})
		for _, step := range []time.Duration{0, 24 * time.Hour} {
			points, err := e.s.UsageSeries(e.Context(), tenant, "n", batch.Period{From: begun, To: begun.Add(2 * time.Hour), Step: step})
			e.ok(err)
			equal(e, "points of a model", len(points), 1)
			equal(e, "of a model", [2]any{points[0].Class, points[0].Requests}, [2]any{"batch", int64(8)})
		}
		models, err := e.s.UsageByModel(e.Context(), tenant, batch.Period{From: begun, To: begun.Add(2 * time.Hour)})
		e.ok(err)
		equal(e, "models", len(models), 2)
		equal(e, "batch", [3]any{models[0].Class, models[0].Model, models[0].Requests}, [3]any{"batch", "n", int64(8)})
		equal(e, "live", [3]any{models[1].Class, models[1].Model, models[1].Requests}, [3]any{"live", "m", int64(111)})
	}},
	{"usage by day is that by 15 minutes", func(e *env) {
		for range 5 {
			batchUse := live(7)
			batchUse.Class, batchUse.Endpoint = "batch", "/v1/embeddings"
			e.add(live(3), batchUse, live(1))
			e.add(live(2))
			e.db.Advance(7 * time.Hour)
		}
		now := e.now()
		from := now.Add(-60 * time.Hour).Truncate(24 * time.Hour)
		sum := func(p batch.Period) map[string]int64 {
			points, err := e.s.UsageSeries(e.Context(), tenant, "", p)
			e.ok(err)
			sums := make(map[string]int64)
			for _, u := range points {
				sums[u.At.Truncate(24*time.Hour).Format(time.DateOnly)+u.Class] += 1000*u.Usage.TotalTokens + u.Requests
			}
			return sums
		}
		fine := sum(batch.Period{From: from, To: now.Add(time.Hour)})
		equal(e, "usage by day", sum(batch.Period{From: from, To: now.Add(time.Hour), Step: 24 * time.Hour}), fine)
		equal(e, "days and classes", len(fine) >= 4, true)
		short, err := e.s.UsageByModel(e.Context(), tenant, batch.Period{From: from, To: now.Add(time.Hour)})
		e.ok(err)
		long, err := e.s.UsageByModel(e.Context(), tenant, batch.Period{From: from.Add(-240 * time.Hour), To: now.Add(time.Hour)})
		e.ok(err)
		equal(e, "usage by model", long, short)
		equal(e, "live requests", short[1].Requests, int64(30))
	}},
	{"absurd usage does not break a report", func(e *env) {
		r := live(1)
		r.Requests = math.MaxInt64
		e.add(r)
		e.db.Advance(bucket)
		e.add(r)
		models, err := e.s.UsageByModel(e.Context(), tenant, e.lastDay())
		e.ok(err)
		equal(e, "requests", models[0].Requests, int64(math.MaxInt64))
		p := e.lastDay()
		p.Step = 240 * time.Hour
		_, err = e.s.UsageSeries(e.Context(), tenant, "", p)
		e.ok(err)
	}},
	{"uploads, creations and ends are counted", func(e *env) {
		e.file(func(n *batch.NewFile) { n.Bytes = 1000 })
		ended := e.completed(nil)
		e.failed()
		counts := make(map[string][2]int64)
		p := e.lastDay()
		p.Step = 240 * time.Hour
		points, err := e.s.Events(e.Context(), tenant, p)
		e.ok(err)
		for _, k := range points {
			c := counts[k.Kind]
			counts[k.Kind] = [2]int64{c[0] + k.Events, c[1] + k.Amount}
		}
		equal(e, "uploads", counts[batch.EventUpload], [2]int64{3, 1000 + 2*1234})
		equal(e, "created", counts[batch.EventBatchCreated], [2]int64{2, 0})
		equal(e, "ended", counts[batch.EventBatchEnded][0], int64(2))
		if took := ended.CompletedAt.Sub(ended.CreatedAt).Microseconds(); counts[batch.EventBatchEnded][1] < took {
			e.Fatalf("batches took %d µs, one alone %d", counts[batch.EventBatchEnded][1], took)
		}
		none, err := e.s.Events(e.Context(), rival, p)
		e.ok(err)
		equal(e, "of another tenant", none, nil)
	}},
	{"states of batches are counted", func(e *env) {
		e.batch(nil)
		running := e.running(1)
		finalizing := e.running(1)
		e.work(finalizing, 0, 1)
		cancelling := e.batch(nil)
		_, err := e.s.CancelBatch(e.Context(), tenant, cancelling.ID)
		e.ok(err)
		e.completed(nil)
		e.cancelled()
		gone := e.failed()
		e.failed()
		want := map[batch.Status]int64{
			batch.Validating: 1, batch.InProgress: 1, batch.Finalizing: 1, batch.Cancelling: 1, batch.Completed: 1, batch.Cancelled: 1, batch.Failed: 2,
		}
		equal(e, "states", e.states(), want)
		_, err = e.s.DeleteBatch(e.Context(), tenant, gone.ID, batch.Deletion{})
		e.ok(err)
		e.db.Advance(24 * time.Hour)
		e.expire(running.ID)
		delete(want, batch.InProgress)
		want[batch.Finalizing]++
		want[batch.Failed]--
		equal(e, "states", e.states(), want)
		e.db.Advance(2 * time.Hour)
		_, err = e.s.Forget(e.Context(), 100)
		e.ok(err)
		equal(e, "states", e.states(), want)
	}},
	{"what waits", func(e *env) {
		w, err := e.s.Waiting(e.Context(), tenant)
		e.ok(err)
		equal(e, "nothing waits", w, batch.Waiting{})
		first, second, paused := e.running(10), e.running(5, 5), e.running(7)
		e.commit(e.claim(first, 0), 0, 1, 3)
		e.pause(paused)
		w, err = e.s.Waiting(e.Context(), tenant)
		e.ok(err)
		equal(e, "what waits", w, batch.Waiting{Batches: 2, Paused: 1, Lines: 17, PausedLines: 7, Oldest: first.InProgressAt})
		if second.InProgressAt.Before(first.InProgressAt) {
			e.Fatal("the second batch began first")
		}
	}},
	{"batches are found by state, model, text and time", func(e *env) {
		var all []string
		begun := e.now()
		make1 := func(meta, name string) batch.Batch {
			f := e.file(func(n *batch.NewFile) { n.Filename = name })
			b := e.batch(func(n *batch.NewBatch) { n.InputFileID, n.Metadata = f.ID, map[string]string{"job": meta} })
			all = append([]string{b.ID}, all...)
			e.db.Advance(time.Minute)
			return b
		}
		first := make1("Nightly <1>", "a.jsonl")
		second := e.start(make1(`50% off\_"`, "Report.jsonl"), 1)
		third := make1("nightly <2>", "b.jsonl")
		fourth := make1("x", "ü.jsonl")
		equal(e, "all", e.found(batch.BatchFilter{}), all)
		for text, want := range map[string][]string{
			"nightly": {third.ID, first.ID}, "NIGHTLY": {third.ID, first.ID}, "<1>": {first.ID}, `off\_"`: {second.ID}, "report": {second.ID},
			"ü": {fourth.ID}, second.ID: {second.ID}, "%": {second.ID}, "nothing like it": nil, ".jsonl": all, "job": all,
		} {
			equal(e, "text "+text, e.found(batch.BatchFilter{Text: text}), want)
			equal(e, "text "+text+", one a page", e.found(batch.BatchFilter{Text: text, Limit: 1}), want)
		}
		oldest := slices.Clone(all)
		slices.Reverse(oldest)
		for _, limit := range []int{1, 3, 10} {
			equal(e, "the oldest first", e.found(batch.BatchFilter{OldestFirst: true, Limit: limit}), oldest)
			equal(e, "active, the oldest first", e.found(batch.BatchFilter{Active: true, OldestFirst: true, Limit: limit}), oldest)
			equal(e, "text, the oldest first", e.found(batch.BatchFilter{Text: "nightly", OldestFirst: true, Limit: limit}), []string{first.ID, third.ID})
			equal(e, "state, the oldest first", e.found(batch.BatchFilter{Status: batch.Validating, OldestFirst: true, Limit: limit}), []string{first.ID, third.ID, fourth.ID})
			equal(e, "from and to, the oldest first", e.found(batch.BatchFilter{From: second.CreatedAt, To: fourth.CreatedAt, OldestFirst: true, Limit: limit}), oldest[1:3])
		}
		equal(e, "state", e.found(batch.BatchFilter{Status: batch.InProgress}), []string{second.ID})
		equal(e, "model", e.found(batch.BatchFilter{Model: "tide-7b"}), []string{second.ID})
		equal(e, "state and model", e.found(batch.BatchFilter{Model: "tide-7b", Status: batch.Validating}), nil)
		equal(e, "state and text", e.found(batch.BatchFilter{Text: "nightly", Status: batch.Validating}), []string{third.ID, first.ID})
		equal(e, "from", e.found(batch.BatchFilter{From: second.CreatedAt}), all[:3])
		equal(e, "to", e.found(batch.BatchFilter{To: second.CreatedAt}), all[3:])
		equal(e, "from and to", e.found(batch.BatchFilter{From: second.CreatedAt, To: fourth.CreatedAt}), all[1:3])
		equal(e, "later", e.found(batch.BatchFilter{From: e.now().Add(time.Hour)}), nil)
		equal(e, "earlier", e.found(batch.BatchFilter{To: begun}), nil)
		equal(e, "active", e.found(batch.BatchFilter{Active: true}), all)
		equal(e, "active, one a page", e.found(batch.BatchFilter{Active: true, Limit: 1}), all)
		equal(e, "active and model", e.found(batch.BatchFilter{Active: true, Model: "tide-7b"}), []string{second.ID})
		equal(e, "active and text", e.found(batch.BatchFilter{Active: true, Text: "nightly"}), []string{third.ID, first.ID})
		equal(e, "paused, without any", e.found(batch.BatchFilter{Paused: true}), nil)
		e.pause(second)
		e.pause(third)
		equal(e, "paused", e.found(batch.BatchFilter{Paused: true}), []string{third.ID, second.ID})
		equal(e, "paused, one a page", e.found(batch.BatchFilter{Paused: true, Limit: 1}), []string{third.ID, second.ID})
		equal(e, "paused and model", e.found(batch.BatchFilter{Paused: true, Model: "tide-7b"}), []string{second.ID})
		equal(e, "paused and text", e.found(batch.BatchFilter{Paused: true, Text: "nightly"}), []string{third.ID})
		_, err := e.s.ResumeBatch(e.Context(), tenant, second.ID)
		e.ok(err)
		equal(e, "paused without a resumed one", e.found(batch.BatchFilter{Paused: true}), []string{third.ID})
		_, err = e.s.CancelBatch(e.Context(), tenant, third.ID)
		e.ok(err)
		e.finish(e.get(third), batch.Outcome{})
		equal(e, "paused without one that ended", e.found(batch.BatchFilter{Paused: true}), nil)
		page, err := e.s.FindBatches(e.Context(), rival, batch.BatchFilter{Limit: 10})
		e.ok(err)
		equal(e, "another tenant's", page.Batches, nil)
		for _, cursor := range []string{"-1", "!", "zzzzzzzzzzzzzzzzzzzz"} {
			_, err := e.s.FindBatches(e.Context(), tenant, batch.BatchFilter{After: cursor, Limit: 1})
			e.is(err, batch.ErrBadCursor)
		}
		_, err = e.s.CancelBatch(e.Context(), tenant, fourth.ID)
		e.ok(err)
		equal(e, "active with one that is cancelled", e.found(batch.BatchFilter{Active: true}), []string{fourth.ID, second.ID, first.ID})
		e.finish(e.get(fourth), batch.Outcome{})
		equal(e, "active without those that were cancelled", e.found(batch.BatchFilter{Active: true}), []string{second.ID, first.ID})
		_, err = e.s.DeleteBatch(e.Context(), tenant, fourth.ID, batch.Deletion{})
		e.ok(err)
		equal(e, "without the deleted one", e.found(batch.BatchFilter{}), all[1:])
	}},
	{"batches are found by time in whatever order they were stored", func(e *env) {
		// Of two batches created at once, either may be stored first.
		hourBefore := e.batch(nil)
		e.db.Advance(2 * time.Hour)
		begun := e.now()
		e.db.Advance(time.Minute)
		later := e.batch(nil)
		e.db.Advance(-30 * time.Second)
		earlier := e.batch(nil)
		e.db.Advance(2 * time.Hour)
		hourAfter := e.batch(nil)
		if !earlier.CreatedAt.Before(later.CreatedAt) {
			e.Fatalf("batches created at %v and %v, want the first later", later.CreatedAt, earlier.CreatedAt)
		}
		for _, oldestFirst := range []bool{false, true} {
			for _, limit := range []int{1, 10} {
				found := func(from, to time.Time) []string {
					ids := e.found(batch.BatchFilter{From: from, To: to, OldestFirst: oldestFirst, Limit: limit})
					if !oldestFirst {
						slices.Reverse(ids)
					}
					return ids
				}
				equal(e, "from the beginning", found(begun, time.Time{}), []string{later.ID, earlier.ID, hourAfter.ID})
				equal(e, "from the later one", found(later.CreatedAt, time.Time{}), []string{later.ID, hourAfter.ID})
				equal(e, "up to the later one", found(time.Time{}, later.CreatedAt), []string{hourBefore.ID, earlier.ID})
				equal(e, "both", found(begun, later.CreatedAt.Add(time.Microsecond)), []string{later.ID, earlier.ID})
			}
		}
	}},
	{"uses of files", func(e *env) {
		f, unused := e.file(nil), e.file(nil)
		var ids []string
		var latest batch.Batch
		for range 3 {
			latest = e.batch(func(n *batch.NewBatch) { n.InputFileID = f.ID })
			ids = append([]string{latest.ID}, ids...)
		}
		uses, err := e.s.FileUses(e.Context(), tenant, []string{f.ID, unused.ID, "file-unknown"}, 2)
		e.ok(err)
		equal(e, "uses", uses, map[string]batch.FileUse{f.ID: {Batches: 3, Latest: ids[:2], Needed: true}})
		_, err = e.s.CancelBatch(e.Context(), tenant, latest.ID)
		e.ok(err)
		e.finish(e.get(latest), batch.Outcome{})
		_, err = e.s.DeleteBatch(e.Context(), tenant, latest.ID, batch.Deletion{})
		e.ok(err)
		uses, err = e.s.FileUses(e.Context(), tenant, []string{f.ID}, 3)
		e.ok(err)
		equal(e, "uses without the deleted", uses, map[string]batch.FileUse{f.ID: {Batches: 2, Latest: ids[1:], Needed: true}})
		for _, id := range ids[1:] {
			_, err = e.s.CancelBatch(e.Context(), tenant, id)
			e.ok(err)
			uses, err = e.s.FileUses(e.Context(), tenant, []string{f.ID}, 0)
			e.ok(err)
			equal(e, "needed by one that is cancelling", uses[f.ID].Needed, true)
			b, err := e.s.Batch(e.Context(), tenant, id)
			e.ok(err)
			e.finish(b, batch.Outcome{})
		}
		uses, err = e.s.FileUses(e.Context(), tenant, []string{f.ID}, 3)
		e.ok(err)
		equal(e, "uses by those that are over", uses, map[string]batch.FileUse{f.ID: {Batches: 2, Latest: ids[1:]}})
		uses, err = e.s.FileUses(e.Context(), rival, []string{f.ID}, 2)
		e.ok(err)
		equal(e, "another tenant's", uses, map[string]batch.FileUse{})
	}},
	{"names of files", func(e *env) {
		a := e.file(func(n *batch.NewFile) { n.Filename = "a.jsonl" })
		gone := e.file(func(n *batch.NewFile) { n.Filename = "gone.jsonl" })
		e.ok(e.s.DeleteFile(e.Context(), tenant, gone.ID))
		names, err := e.s.FileNames(e.Context(), tenant, []string{a.ID, gone.ID, "file-unknown"})
		e.ok(err)
		equal(e, "names", names, map[string]string{a.ID: "a.jsonl", gone.ID: "gone.jsonl"})
		names, err = e.s.FileNames(e.Context(), rival, []string{a.ID})
		e.ok(err)
		equal(e, "another tenant's", names, map[string]string{})
	}},
	{"the largest files", func(e *env) {
		sized := func(bytes int64) string { return e.file(func(n *batch.NewFile) { n.Bytes = bytes }).ID }
		small, large, gone, middle, same := sized(1), sized(1000), sized(5000), sized(10), sized(10)
		e.ok(e.s.DeleteFile(e.Context(), tenant, gone))
		e.file(func(n *batch.NewFile) { n.Bytes, n.TTL = 9000, time.Minute })
		e.file(func(n *batch.NewFile) { n.Bytes, n.Tenant = 9000, rival })
		e.db.Advance(time.Hour)
		largest := func(limit int) (ids []string) {
			files, err := e.s.LargestFiles(e.Context(), tenant, limit)
			e.ok(err)
			for _, f := range files {
				ids = append(ids, f.ID)
			}
			return ids
		}
		equal(e, "files", largest(10), []string{large, same, middle, small})
		equal(e, "two files", largest(2), []string{large, same})
	}},
	{"what contents take", func(e *env) {
		f := e.file(func(n *batch.NewFile) { n.Bytes = 1000 })
		e.file(func(n *batch.NewFile) { n.Bytes, n.Purpose = 50, openai.PurposeBatchOutput })
		e.file(func(n *batch.NewFile) {
			n.Bytes, n.Purpose, n.Tenant = 7, batch.PurposeIndex, batch.IndexTenant(tenant)
		})
		u := e.upload()
		part := e.part(u)
		want := map[string]batch.StorageUse{
			"batch": {Purpose: "batch", Files: 1, Bytes: 1000}, "batch_output": {Purpose: "batch_output", Files: 1, Bytes: 50},
			batch.PurposeIndex: {Purpose: batch.PurposeIndex, Files: 1, Bytes: 7},
			batch.PurposePart:  {Purpose: batch.PurposePart, Files: 1, Bytes: part.Bytes},
		}
		equal(e, "storage", e.storage(), want)
		e.ok(e.s.DeleteFile(e.Context(), tenant, f.ID))
		_, err := e.s.CancelUpload(e.Context(), tenant, u.ID)
		e.ok(err)
		delete(want, batch.PurposePart)
		equal(e, "storage with what is not collected", e.storage(), want)
		e.collectGarbage()
		delete(want, "batch")
		equal(e, "storage", e.storage(), want)
	}},
	tenantStorageTest,
	{"a batch's index goes with it", func(e *env) {
		b := e.running(1)
		e.work(b, 0, 1)
		out, index := e.newFile(), e.newFile()
		index.Tenant, index.Purpose = batch.IndexTenant(tenant), batch.PurposeIndex
		b = e.finish(b, batch.Outcome{Output: &out, Index: &index})
		equal(e, "index", b.IndexFileID, index.ID)
		_, err := e.s.File(e.Context(), batch.IndexTenant(tenant), index.ID)
		e.ok(err)
		_, err = e.s.File(e.Context(), tenant, index.ID)
		e.is(err, batch.ErrNotFound)
		_, err = e.s.DeleteBatch(e.Context(), tenant, b.ID, batch.Deletion{})
		e.ok(err)
		garbage := e.garbage()
		if !slices.Contains(garbage, index.Key) || !slices.Contains(garbage, out.Key) {
			e.Fatalf("garbage is %v", garbage)
		}
	}},
	{"history is pruned", func(e *env) {
		e.noon() // days are kept up to their end
		e.add(live(1))
		b := e.running(8)
		c := e.claim(b, 0)
		e.commit(c, 0)
		e.db.Advance(batch.MinutesTTL + time.Hour)
		prune := func(limit, want int) {
			e.Helper()
			n, err := e.s.PruneHistory(e.Context(), limit)
			e.ok(err)
			equal(e, "pruned", n, want)
		}
		prune(10, 2) // the minute of the batch and the minute of the model
		e.db.Advance(batch.HistoryTTL - batch.MinutesTTL - 2*time.Hour)
		prune(10, 0)
		e.add(live(1))
		e.db.Advance(2 * time.Hour)
		for range 4 { // usage live and batch, an upload, a batch
			prune(1, 1)
		}
		prune(10, 0)
		equal(e, "usage that is left", len(e.usage(tenant)), 1)
		e.db.Advance(24 * time.Hour)
		prune(10, 2) // the days, live and batch
		prune(10, 0)
	}},
}
