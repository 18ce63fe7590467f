package storetest

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/tidegate/tidegate/batch"
	"github.com/tidegate/tidegate/internal/openai"
)

// lease is a lease that only Advance ends.
const lease = time.Hour

// tenant is the default tenant of a test's objects.
const tenant = "acme"

// env is one test with its open store.
type env struct {
	*testing.T
	db     Database
	s      batch.Store
	serial atomic.Int64
}

// open opens a store on the database; the one before must be closed.
func (e *env) open() {
	e.Helper()
	s := e.db.Store()
	e.ok(s.Open(e.Context()))
	e.s = s
	e.Cleanup(func() { e.ok(s.Close()) })
}

// reopen closes the store and opens another on the same database.
func (e *env) reopen() {
	e.Helper()
	e.ok(e.s.Close())
	e.open()
}

// ok ends the test when err is an error.
func (e *env) ok(err error) {
	e.Helper()
	if err != nil {
		e.Fatalf("unexpected error: %v", err)
	}
}

// is fails the test if err is not want.
func (e *env) is(err, want error) {
	e.Helper()
	if !errors.Is(err, want) {
		e.Fatalf("error is %v, want %v", err, want)
	}
}

// equal fails the test if got and want differ; empty and nil are equal.
func equal[T any](e *env, what string, got, want T) {
	e.Helper()
	if diff := cmp.Diff(want, got, cmpopts.EquateEmpty()); diff != "" {
		e.Fatalf("%s (-want +got):\n%s", what, diff)
	}
}

func (e *env) now() time.Time {
	e.Helper()
	now, err := e.s.Now(e.Context())
	e.ok(err)
	return now
}

// during checks that at is between two readings of the clock.
func (e *env) during(what string, at, from, to time.Time) {
	e.Helper()
	if at.Before(from) || at.After(to) {
		e.Fatalf("%s is %v, want between %v and %v", what, at, from, to)
	}
}

// noon advances the clock to the middle of the next day, UTC.
func (e *env) noon() {
	now := e.now()
	e.db.Advance(now.Truncate(24 * time.Hour).Add(36 * time.Hour).Sub(now))
}

// id makes an id that no other object of the test has.
func (e *env) id(prefix string) string { return fmt.Sprintf("%s%04d", prefix, e.serial.Add(1)) }

// newFile describes a file that never expires.
func (e *env) newFile() batch.NewFile {
	id := e.id("file-")
	return batch.NewFile{
		ID: id, Tenant: tenant, Key: "content-" + id, Filename: id + ".jsonl", Purpose: openai.PurposeBatch,
		Bytes: 1234, SHA256: "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
	}
}

// file makes a file; change may be nil.
func (e *env) file(change func(*batch.NewFile)) batch.File {
	e.Helper()
	n := e.newFile()
	if change != nil {
		change(&n)
	}
	f, err := e.s.CreateFile(e.Context(), n)
	e.ok(err)
	return f
}

// newBatch describes a batch of a new input file.
func (e *env) newBatch() batch.NewBatch {
	e.Helper()
	return batch.NewBatch{
		ID: e.id("batch_"), Tenant: tenant, Endpoint: "/v1/chat/completions", InputFileID: e.file(nil).ID,
		CompletionWindow: "24h", Window: 24 * time.Hour,
	}
}

// batch makes a batch that is Validating; change may be nil.
func (e *env) batch(change func(*batch.NewBatch)) batch.Batch {
	e.Helper()
	n := e.newBatch()
	if change != nil {
		change(&n)
	}
	b, created, err := e.s.CreateBatch(e.Context(), n)
	e.ok(err)
	if !created {
		e.Fatalf("batch %s already existed", n.ID)
	}
	return b
}

// plan makes a plan of slices with these numbers of lines.
func plan(lines ...int) batch.Plan {
	p := batch.Plan{Model: "tide-7b"}
	for _, n := range lines {
		p.Slices = append(p.Slices, batch.SlicePlan{Offset: int64(100 * p.Lines), Length: int64(100 * n), FirstLine: p.Lines, Lines: n})
		p.Lines += n
	}
	return p
}

// claimBatch claims the batch with the id, which must be the only claimable one.
func (e *env) claimBatch(id string) batch.BatchClaim {
	e.Helper()
	c, err := e.s.ClaimBatch(e.Context(), "batch worker", lease, batch.Validate)
	e.ok(err)
	equal(e, "claimed batch", c.Batch.ID, id)
	return c
}

// claimOf claims a batch and leaves older ones that can be claimed as they were.
func (e *env) claimOf(b batch.Batch) batch.BatchClaim {
	e.Helper()
	var others []batch.BatchClaim
	for {
		c, err := e.s.ClaimBatch(e.Context(), "batch worker", lease, batch.Validate)
		e.ok(err)
		if c.Batch.ID != b.ID {
			others = append(others, c)
			continue
		}
		for _, o := range others {
			e.ok(e.s.ReleaseBatch(e.Context(), o))
		}
		return c
	}
}

// start moves a Validating batch to InProgress, with slices of these numbers
// of lines.
func (e *env) start(b batch.Batch, lines ...int) batch.Batch {
	e.Helper()
	e.ok(e.s.StartBatch(e.Context(), e.claimOf(b), plan(lines...)))
	return e.get(b)
}

// running makes a batch that is InProgress.
func (e *env) running(lines ...int) batch.Batch {
	e.Helper()
	return e.start(e.batch(nil), lines...)
}

// get reads a batch again.
func (e *env) get(b batch.Batch) batch.Batch {
	e.Helper()
	b, err := e.s.Batch(e.Context(), b.Tenant, b.ID)
	e.ok(err)
	return b
}

// refs names slices of a batch.
func refs(b batch.Batch, numbers ...int) []batch.SliceRef {
	out := make([]batch.SliceRef, len(numbers))
	for i, n := range numbers {
		out[i] = batch.SliceRef{BatchID: b.ID, Number: n}
	}
	return out
}

// claim claims one slice.
func (e *env) claim(b batch.Batch, number int) batch.SliceClaim {
	e.Helper()
	slices, err := e.s.ClaimSlices(e.Context(), batch.Claimant{Owner: "worker", Lease: lease}, refs(b, number))
	e.ok(err)
	if len(slices) != 1 {
		e.Fatalf("slice %d of %s could not be claimed", number, b.ID)
	}
	return slices[0].SliceClaim
}

// whole returns releases that keep no lines.
func whole(claims ...batch.SliceClaim) []batch.Release {
	out := make([]batch.Release, len(claims))
	for i, c := range claims {
		out[i].SliceClaim = c
	}
	return out
}

// line returns a unique result.
func line(c batch.SliceClaim, index int) batch.LineResult {
	n := int64(index + 1)
	l := batch.LineResult{
		Index: index, Failed: index%4 == 3, Model: "tide-7b",
		Record: fmt.Appendf(nil, `{"slice":%d,"line":%d}`, c.Number, index),
		Usage:  openai.Usage{InputTokens: 10 * n, OutputTokens: n, TotalTokens: 11 * n},
	}
	l.LineInfo = batch.LineInfo{Attempts: index + 1, Duration: time.Duration(n) * time.Millisecond, Upstream: fmt.Sprintf("http://gpu-%d:8000", index%3)}
	l.Usage.InputTokensDetails.CachedTokens = 2 * n
	l.Usage.OutputTokensDetails.ReasoningTokens = 3 * n
	return l
}

// write makes a write of these lines.
func write(c batch.SliceClaim, indices ...int) batch.SegmentWrite {
	w := batch.SegmentWrite{Claim: c}
	for _, i := range indices {
		w.Lines = append(w.Lines, line(c, i))
	}
	return w
}

// upTo is 0 to n-1.
func upTo(n int) []int {
	out := make([]int, n)
	for i := range out {
		out[i] = i
	}
	return out
}

// commit commits lines under a claim that holds.
func (e *env) commit(c batch.SliceClaim, indices ...int) {
	e.Helper()
	stale, err := e.s.CommitResults(e.Context(), []batch.SegmentWrite{write(c, indices...)})
	e.ok(err)
	equal(e, "stale claims", stale, nil)
}

// work claims a slice and commits all its lines.
func (e *env) work(b batch.Batch, number, lines int) {
	e.Helper()
	e.commit(e.claim(b, number), upTo(lines)...)
}

// finish sets a finalizing or cancelling batch to its Ending.
func (e *env) finish(b batch.Batch, o batch.Outcome) batch.Batch {
	e.Helper()
	e.ok(e.s.FinishBatch(e.Context(), e.claimOf(b), o))
	return e.get(b)
}

// completed makes a completed batch of one line.
func (e *env) completed(change func(*batch.NewBatch)) batch.Batch {
	e.Helper()
	b := e.start(e.batch(change), 1)
	e.work(b, 0, 1)
	out := e.newFile()
	out.Purpose, out.Tenant = openai.PurposeBatchOutput, b.Tenant
	return e.finish(b, batch.Outcome{Output: &out})
}

// cancelled makes a cancelled batch that never ran.
func (e *env) cancelled() batch.Batch {
	e.Helper()
	b := e.batch(nil)
	_, err := e.s.CancelBatch(e.Context(), b.Tenant, b.ID)
	e.ok(err)
	return e.finish(b, batch.Outcome{})
}

// failed makes a failed batch.
func (e *env) failed() batch.Batch {
	e.Helper()
	b := e.batch(nil)
	e.ok(e.s.FailBatch(e.Context(), e.claimOf(b), []openai.BatchError{{Code: "empty_file", Message: "no line"}}))
	return e.get(b)
}

// expired makes an expired batch, by moving the clock a day.
func (e *env) expired() batch.Batch {
	e.Helper()
	b := e.running(1)
	e.db.Advance(24 * time.Hour)
	e.expire(b.ID)
	return e.finish(b, batch.Outcome{})
}

// expire expires batches, which must be these, in any order.
func (e *env) expire(ids ...string) {
	e.Helper()
	got, err := e.s.ExpireBatches(e.Context(), 100)
	e.ok(err)
	slices.Sort(got)
	slices.Sort(ids)
	equal(e, "expired batches", got, ids)
}

// results reads the results of a slice.
func (e *env) results(b batch.Batch, number int) []batch.LineResult {
	e.Helper()
	lines, err := e.s.Results(e.Context(), batch.SliceRef{BatchID: b.ID, Number: number})
	e.ok(err)
	return lines
}

// stored returns the form in which Results returns a line.
func stored(l batch.LineResult) batch.LineResult {
	return batch.LineResult{Index: l.Index, Failed: l.Failed, Record: bytes.Clone(l.Record), Usage: l.Usage, LineInfo: l.LineInfo}
}

// slices lists all slices of a batch.
func (e *env) slices(b batch.Batch) []batch.Slice {
	e.Helper()
	s, err := e.s.Slices(e.Context(), b.ID, 0, 10_000)
	e.ok(err)
	return s
}

// collectGarbage deletes Garbage like the cleaner, and returns the keys.
func (e *env) collectGarbage() []string {
	e.Helper()
	keys, err := e.s.Garbage(e.Context(), 1000)
	e.ok(err)
	e.ok(e.s.Collected(e.Context(), keys))
	return keys
}

// garbage lists garbage.
func (e *env) garbage() []string {
	e.Helper()
	keys, err := e.s.Garbage(e.Context(), 1000)
	e.ok(err)
	return keys
}
