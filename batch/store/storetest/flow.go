package storetest

import (
	"cmp"
	"slices"
	"time"

	"github.com/tidegate/tidegate/batch"
)

// took makes a write of lines of a model that took so long each, from index first on.
func took(c batch.SliceClaim, model string, first int, durations ...time.Duration) batch.SegmentWrite {
	w := batch.SegmentWrite{Claim: c}
	for i, d := range durations {
		l := line(c, first+i)
		l.Model, l.Duration = model, d
		w.Lines = append(w.Lines, l)
	}
	return w
}

// flow returns finished lines since a time, by minute and model.
func (e *env) flow(since time.Time) []batch.ModelMinute {
	e.Helper()
	minutes, err := e.s.Flow(e.Context(), since, 100)
	e.ok(err)
	if !slices.IsSortedFunc(minutes, func(a, b batch.ModelMinute) int { return b.At.Compare(a.At) }) {
		e.Errorf("minutes are not the newest first: %v", minutes)
	}
	slices.SortFunc(minutes, func(a, b batch.ModelMinute) int {
		return cmp.Or(a.At.Compare(b.At), cmp.Compare(a.Model, b.Model))
	})
	return minutes
}

// batchModels returns the lines of batches by model, those of a batch in the order of models.
func (e *env) batchModels() []batch.BatchModel {
	e.Helper()
	models, err := e.s.BatchModels(e.Context(), 100)
	e.ok(err)
	return models
}

// mixed makes a batch of two models that is InProgress, with one slice of four lines.
func (e *env) mixed() batch.Batch {
	e.Helper()
	b := e.batch(nil)
	p := plan(4)
	p.Model, p.Models = "", []batch.ModelLines{{Model: "m", Lines: 3}, {Model: "n", Lines: 1}}
	e.ok(e.s.StartBatch(e.Context(), e.claimOf(b), p))
	return e.get(b)
}

var flowTests = []test{
	{"lines that end are counted by model and minute", func(e *env) {
		b, other := e.running(8), e.running(8)
		c, d := e.claim(b, 0), e.claim(other, 0)
		e.toBucket()
		begun := e.now().Truncate(time.Minute)
		from := e.now()
		_, err := e.s.CommitResults(e.Context(), []batch.SegmentWrite{took(c, "m", 0, 5*time.Second, time.Second), took(d, "m", 0, 90*time.Second)})
		e.ok(err)
		_, err = e.s.CommitResults(e.Context(), []batch.SegmentWrite{took(c, "m", 0, time.Hour), took(d, "n", 1, 0)}) // the first is done already
		e.ok(err)
		to := e.now()
		got := e.flow(begun)
		equal(e, "minutes", len(got), 2)
		m, n := got[0], got[1]
		equal(e, "model", m.Model, "m")
		equal(e, "minute", m.At, begun)
		equal(e, "lines", m.Lines, 3)
		e.during("the first line began", m.First, from.Add(-90*time.Second), to.Add(-90*time.Second))
		e.during("the last line began", m.Began, from.Add(-time.Second), to.Add(-time.Second))
		e.during("the last line ended", m.Last, from, to)
		equal(e, "other model", n.Model, "n")
		equal(e, "its lines", n.Lines, 1)
		equal(e, "began when it ended", n.Began, n.Last)

		e.db.Advance(3 * time.Minute)
		from = e.now()
		_, err = e.s.CommitResults(e.Context(), []batch.SegmentWrite{took(c, "m", 2, time.Second)})
		e.ok(err)
		got = e.flow(begun)
		equal(e, "minutes later", len(got), 3)
		equal(e, "the first minute", got[0], m)
		e.during("the last line of the new minute ended", got[2].Last, from, e.now())
		equal(e, "the new minute alone", len(e.flow(begun.Add(time.Minute))), 1)
		newest, err := e.s.Flow(e.Context(), begun, 1)
		e.ok(err)
		equal(e, "newest", newest, got[2:])
	}},
	{"what got done is known when its batch is gone", func(e *env) {
		b := e.running(2)
		e.work(b, 0, 2)
		_, err := e.s.DeleteBatch(e.Context(), tenant, b.ID, batch.Deletion{})
		e.ok(err)
		got := e.flow(e.now().Add(-time.Hour))
		equal(e, "minutes", len(got), 1)
		equal(e, "lines", got[0].Lines, 2)
	}},
	{"lines of batches of several models count for their model and together", func(e *env) {
		b := e.mixed()
		c := e.claim(b, 0)
		e.toBucket()
		_, err := e.s.CommitResults(e.Context(), []batch.SegmentWrite{took(c, "m", 0, 3*time.Second, time.Second), took(c, "n", 2, 2*time.Second)})
		e.ok(err)
		got := e.flow(e.now().Add(-time.Hour))
		var lines []batch.ModelLines
		for _, m := range got {
			lines = append(lines, batch.ModelLines{Model: m.Model, Lines: m.Lines})
		}
		equal(e, "lines", lines, []batch.ModelLines{{Model: "", Lines: 3}, {Model: "m", Lines: 2}, {Model: "n", Lines: 1}})
		equal(e, "models", e.batchModels(), []batch.BatchModel{
			{BatchID: b.ID, ModelLines: batch.ModelLines{Model: "m", Lines: 3}, Done: 2},
			{BatchID: b.ID, ModelLines: batch.ModelLines{Model: "n", Lines: 1}, Done: 1},
		})
		_, err = e.s.CommitResults(e.Context(), []batch.SegmentWrite{took(c, "m", 0, time.Second)}) // once more
		e.ok(err)
		equal(e, "lines of m done", e.batchModels()[0].Done, 2)
		_, err = e.s.CancelBatch(e.Context(), tenant, b.ID)
		e.ok(err)
		equal(e, "models of a batch that is over", e.batchModels(), nil)
	}},
	{"a batch of one model has no lines by model", func(e *env) {
		e.work(e.running(2, 2), 0, 2)
		equal(e, "models", e.batchModels(), nil)
	}},
	{"batches that wait, by priority and age", func(e *env) {
		first, second := e.batch(nil), e.batch(nil)
		urgent := e.batch(func(n *batch.NewBatch) { n.Priority = 7 })
		theirs := e.batch(func(n *batch.NewBatch) { n.Tenant = "rival" })
		e.running(1)
		gone := e.batch(nil)
		e.discard(gone)
		got, err := e.s.WaitingBatches(e.Context(), 100)
		e.ok(err)
		equal(e, "waiting", got, []batch.Batch{urgent, first, second, theirs})
		got, err = e.s.WaitingBatches(e.Context(), 2)
		e.ok(err)
		equal(e, "the first two", got, []batch.Batch{urgent, first})
	}},
	{"lines of a batch that waits are counted", func(e *env) {
		b := e.batch(nil)
		c := e.claimBatch(b.ID)
		e.ok(e.s.CountLines(e.Context(), c, []batch.ModelLines{{Model: "x", Lines: 1}, {Model: "m", Lines: 2}}))
		e.ok(e.s.CountLines(e.Context(), c, []batch.ModelLines{{Model: "m", Lines: 3}}))
		equal(e, "models", e.batchModels(), []batch.BatchModel{{BatchID: b.ID, ModelLines: batch.ModelLines{Model: "m", Lines: 3}}})
		equal(e, "batch", e.get(b), b)
		e.ok(e.s.ReleaseBatch(e.Context(), c))
		e.is(e.s.CountLines(e.Context(), c, nil), batch.ErrStale)
		e.ok(e.s.StartBatch(e.Context(), e.claimBatch(b.ID), plan(3)))
		equal(e, "models when it runs", e.batchModels(), nil)
	}},
	{"a batch that was counted and is over leaves nothing", func(e *env) {
		b := e.batch(nil)
		e.ok(e.s.CountLines(e.Context(), e.claimBatch(b.ID), []batch.ModelLines{{Model: "m", Lines: 3}}))
		e.discard(b)
		equal(e, "models", e.batchModels(), nil)
		e.dropWork()
		e.db.Advance(2 * time.Hour)
		e.forget()
		got, err := e.s.WaitingBatches(e.Context(), 100)
		e.ok(err)
		equal(e, "waiting", got, nil)
	}},
}
