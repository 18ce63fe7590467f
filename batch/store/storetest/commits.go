package storetest

import (
	"bytes"
	"fmt"
	"math"
	"slices"
	"sync"
	"time"

	"github.com/tidegate/tidegate/batch"
	"github.com/tidegate/tidegate/internal/openai"
)

// tally adds the lines to the counts of a batch.
func tally(b *batch.Batch, lines ...batch.LineResult) {
	for _, l := range lines {
		if l.Failed {
			b.Counts.Failed++
		} else {
			b.Counts.Completed++
		}
		b.Usage.Add(l.Usage)
	}
}

var commitTests = []test{
	{"a commit adds results, done bits, counts and usage", func(e *env) {
		b := e.running(64, 5)
		first, second := e.claim(b, 0), e.claim(b, 1)
		e.commit(first, 63, 3, 0)
		stale, err := e.s.CommitResults(e.Context(), []batch.SegmentWrite{write(first, 1), write(second, 4), write(first, 62)})
		e.ok(err)
		equal(e, "stale claims", stale, nil)

		want := b
		for _, i := range []int{63, 3, 0, 1, 62} {
			tally(&want, line(first, i))
		}
		tally(&want, line(second, 4))
		equal(e, "batch", e.get(b), want)
		p := plan(64, 5)
		equal(e, "slices", e.slices(b), []batch.Slice{
			{SliceClaim: first, SlicePlan: p.Slices[0], Done: 1 | 1<<1 | 1<<3 | 1<<62 | 1<<63},
			{SliceClaim: second, SlicePlan: p.Slices[1], Done: 1 << 4},
		})
		var merged []batch.LineResult
		for _, i := range []int{0, 1, 3, 62, 63} {
			merged = append(merged, stored(line(first, i)))
		}
		equal(e, "results by index", e.results(b, 0), merged)
		equal(e, "results of the other slice", e.results(b, 1), []batch.LineResult{stored(line(second, 4))})
		equal(e, "usage", e.usage(tenant), []batch.UsageRecord{{
			Tenant: tenant, Class: "batch", Model: "tide-7b", Endpoint: b.Endpoint, Requests: 6, Failures: 2, Usage: want.Usage,
		}})
	}},
	{"usage is kept by model and endpoint", func(e *env) {
		chat := e.running(4)
		embed := e.start(e.batch(func(n *batch.NewBatch) { n.Endpoint = "/v1/embeddings" }), 2)
		a, b := write(e.claim(chat, 0), 0, 1, 2), write(e.claim(embed, 0), 0)
		a.Lines[1].Model = "other"
		_, err := e.s.CommitResults(e.Context(), []batch.SegmentWrite{a, b})
		e.ok(err)
		both := a.Lines[0].Usage
		both.Add(a.Lines[2].Usage)
		equal(e, "usage", e.usage(tenant), []batch.UsageRecord{
			{Tenant: tenant, Class: "batch", Model: "other", Endpoint: chat.Endpoint, Requests: 1, Usage: a.Lines[1].Usage},
			{Tenant: tenant, Class: "batch", Model: "tide-7b", Endpoint: chat.Endpoint, Requests: 2, Usage: both},
			{Tenant: tenant, Class: "batch", Model: "tide-7b", Endpoint: embed.Endpoint, Requests: 1, Usage: b.Lines[0].Usage},
		})
	}},
	{"a repeated commit counts once", func(e *env) {
		b := e.running(4)
		c := e.claim(b, 0)
		e.commit(c, 0, 1)
		want := e.get(b)
		e.commit(c, 0, 1)
		e.commit(c, 1, 0, 1)
		equal(e, "batch", e.get(b), want)
		usage := e.usage(tenant)
		equal(e, "requests", usage[0].Requests, int64(2))
		e.commit(c, 0, 2, 2) // one of them is new
		tally(&want, line(c, 2))
		equal(e, "batch with one more line", e.get(b), want)
		equal(e, "results", len(e.results(b, 0)), 3)
	}},
	{"the first result of a line stays", func(e *env) {
		b := e.running(2)
		c := e.claim(b, 0)
		e.commit(c, 0)
		w := write(c, 0)
		w.Lines[0].Record, w.Lines[0].Failed = []byte(`"another"`), true
		_, err := e.s.CommitResults(e.Context(), []batch.SegmentWrite{w})
		e.ok(err)
		equal(e, "results", e.results(b, 0), []batch.LineResult{stored(line(c, 0))})
	}},
	{"the commit of the last line can be repeated", func(e *env) {
		b := e.running(2)
		c := e.claim(b, 0)
		e.commit(c, 0, 1)
		want := e.get(b)
		equal(e, "status", want.Status, batch.Finalizing)
		e.commit(c, 0, 1)
		equal(e, "batch", e.get(b), want)
		e.cancel(b)
		stale, err := e.s.CommitResults(e.Context(), []batch.SegmentWrite{write(c, 1)})
		e.ok(err)
		equal(e, "stale claims once cancelled", stale, []batch.SliceClaim{c})
	}},
	{"a stale write is left out, the others are not", func(e *env) {
		b := e.running(2, 2)
		old, err := e.s.ClaimSlices(e.Context(), batch.Claimant{Owner: "worker", Lease: 0}, refs(b, 0))
		e.ok(err)
		claim, other := e.claim(b, 0), e.claim(b, 1)
		unknown := batch.SliceClaim{SliceRef: batch.SliceRef{BatchID: "batch_unknown"}, Attempt: 1}
		beyond := batch.SliceClaim{SliceRef: batch.SliceRef{BatchID: b.ID, Number: 2}, Attempt: 1}
		early := batch.SliceClaim{SliceRef: other.SliceRef, Attempt: 2}
		stale, err := e.s.CommitResults(e.Context(), []batch.SegmentWrite{
			write(old[0].SliceClaim, 0), write(unknown, 0), write(other, 0), write(beyond, 0), write(early, 1), write(old[0].SliceClaim, 1), write(claim, 1),
		})
		e.ok(err)
		equal(e, "stale claims", stale, []batch.SliceClaim{old[0].SliceClaim, unknown, beyond, early})
		tally(&b, line(other, 0), line(claim, 1))
		equal(e, "batch", e.get(b), b)
		equal(e, "results", e.results(b, 0), []batch.LineResult{stored(line(claim, 1))})
	}},
	{"the last line ends the batch", func(e *env) {
		b := e.running(2, 1)
		e.work(b, 0, 2)
		equal(e, "status", e.get(b).Status, batch.InProgress)
		c := e.claim(b, 1)
		before := e.now()
		e.commit(c, 0)
		got := e.get(b)
		e.during("finalizing at", got.FinalizingAt, before, e.now())
		equal(e, "status", got.Status, batch.Finalizing)
		equal(e, "ending", got.Ending, batch.Completed)
		equal(e, "counts", got.Counts, openai.RequestCounts{Total: 3, Completed: 3})
		equal(e, "claimed for finalizing", e.claimBatch(b.ID).Batch, got)
	}},
	{"a line that the slice has not spoils the whole commit", func(e *env) {
		b := e.running(3, 3)
		c, other := e.claim(b, 0), e.claim(b, 1)
		for _, index := range []int{-1, 3, 64, 1 << 20} {
			bad := write(other, 0)
			bad.Lines[0].Index = index
			if _, err := e.s.CommitResults(e.Context(), []batch.SegmentWrite{write(c, 0), bad}); err == nil {
				e.Fatalf("line %d was committed", index)
			}
		}
		equal(e, "batch", e.get(b), b)
		equal(e, "results", e.results(b, 0), nil)
		equal(e, "usage", e.usage(tenant), nil)
	}},
	{"nothing is a commit too", func(e *env) {
		b := e.running(1)
		c := e.claim(b, 0)
		stale, err := e.s.CommitResults(e.Context(), nil)
		e.ok(err)
		equal(e, "stale claims", stale, nil)
		e.commit(c)
		equal(e, "batch", e.get(b), b)
	}},
	{"a group of 256 large records", func(e *env) {
		b := e.running(64, 64, 64, 64)
		var writes []batch.SegmentWrite
		for number := range 4 {
			w := write(e.claim(b, number), upTo(64)...)
			for i := range w.Lines {
				w.Lines[i].Record = bytes.Repeat([]byte{byte(i), byte(number), 0, '\n', 0xff}, 16<<10/5)
			}
			writes = append(writes, w)
		}
		stale, err := e.s.CommitResults(e.Context(), writes)
		e.ok(err)
		equal(e, "stale claims", stale, nil)
		equal(e, "status", e.get(b).Status, batch.Finalizing)
		for number, w := range writes {
			for i, r := range e.results(b, number) {
				if !bytes.Equal(r.Record, w.Lines[i].Record) {
					e.Fatalf("record %d of slice %d differs from the committed one", i, number)
				}
			}
		}
	}},
	{"empty and huge records", func(e *env) {
		b := e.running(3)
		w := write(e.claim(b, 0), 0, 1)
		w.Lines[0].Record = nil
		w.Lines[1].Record = bytes.Repeat([]byte("tide"), 1<<20)
		_, err := e.s.CommitResults(e.Context(), []batch.SegmentWrite{w})
		e.ok(err)
		got := e.results(b, 0)
		equal(e, "results", len(got), 2)
		equal(e, "empty record", len(got[0].Record), 0)
		if !bytes.Equal(got[1].Record, w.Lines[1].Record) {
			e.Fatal("huge record differs from the committed one")
		}
	}},
	{"absurd counts do no harm", func(e *env) {
		b := e.running(3)
		c := e.claim(b, 0)
		w := write(c, 0, 1)
		for i := range w.Lines {
			w.Lines[i].Usage = openai.Usage{InputTokens: math.MaxInt64 - 1, OutputTokens: math.MinInt64 + 1, TotalTokens: math.MaxInt64}
		}
		_, err := e.s.CommitResults(e.Context(), []batch.SegmentWrite{w})
		e.ok(err)
		e.commit(c, 2)
		got := e.get(b)
		equal(e, "status", got.Status, batch.Finalizing)
		equal(e, "input tokens", got.Usage.InputTokens, int64(math.MaxInt64))
		equal(e, "total tokens", got.Usage.TotalTokens, int64(math.MaxInt64))
		equal(e, "requests", e.usage(tenant)[0].Requests, int64(3))
	}},
	{"results of what is not there", func(e *env) {
		b := e.running(1)
		equal(e, "slice without results", e.results(b, 0), nil)
		equal(e, "unknown slice", e.results(b, 7), nil)
		equal(e, "unknown batch", e.results(batch.Batch{ID: "batch_unknown"}, 0), nil)
		equal(e, "slices of an unknown batch", e.slices(batch.Batch{ID: "batch_unknown"}), nil)
	}},
	{"slices come by number", func(e *env) {
		b := e.running(1, 2, 3, 4, 5)
		e.work(b, 2, 3)
		all := e.slices(b)
		p := plan(1, 2, 3, 4, 5)
		for i, s := range all {
			equal(e, "number", s.Number, i)
			equal(e, "plan", s.SlicePlan, p.Slices[i])
		}
		got, err := e.s.Slices(e.Context(), b.ID, 1, 3)
		e.ok(err)
		equal(e, "slices from 1 on", got, all[1:4])
		got, err = e.s.Slices(e.Context(), b.ID, 4, 3)
		e.ok(err)
		equal(e, "last slices", got, all[4:])
		got, err = e.s.Slices(e.Context(), b.ID, 5, 3)
		e.ok(err)
		equal(e, "slices beyond the last", got, nil)
	}},
	{"concurrent commits add up", testConcurrentCommits},
}

// testConcurrentCommits has 8 workers commit overlapping lines of the same
// slices under the same claims, as a repeated commit of unknown outcome would.
func testConcurrentCommits(e *env) {
	const workers = 8
	lines := []int{64, 64, 1, 33}
	b := e.running(lines...)
	claims := make([]batch.SliceClaim, len(lines))
	for i := range lines {
		claims[i] = e.claim(b, i)
	}
	var (
		wg   sync.WaitGroup
		errs [workers]error
	)
	for w := range workers {
		wg.Go(func() {
			for step := range 64 {
				var group []batch.SegmentWrite
				for i, n := range lines {
					if at := (step + 8*w) % 64; at < n {
						group = append(group, write(claims[i], at))
					}
				}
				stale, err := e.s.CommitResults(e.Context(), group)
				if err == nil && len(stale) > 0 {
					err = fmt.Errorf("stale claims %v", stale)
				}
				if err != nil {
					errs[w] = err
					return
				}
			}
		})
	}
	wg.Wait()
	want := e.get(b)
	for _, err := range errs {
		e.ok(err)
	}
	for i, n := range lines {
		for at := range n {
			tally(&b, line(claims[i], at))
		}
		equal(e, "results", len(e.results(b, i)), n)
	}
	equal(e, "counts", want.Counts, b.Counts)
	equal(e, "usage", want.Usage, b.Usage)
	equal(e, "status", want.Status, batch.Finalizing)
	usage := e.usage(tenant)
	equal(e, "requests", usage[0].Requests, b.Counts.Total)
	equal(e, "usage_15m", usage[0].Usage, b.Usage)
}

// usage sums all usage of a tenant, ordered by model and endpoint.
func (e *env) usage(tenant string) []batch.UsageRecord {
	e.Helper()
	records, err := e.s.Usage(e.Context(), tenant, e.now().Add(-365*24*time.Hour))
	e.ok(err)
	slices.SortFunc(records, compareUsage)
	return records
}
