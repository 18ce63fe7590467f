package storetest

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/tidegate/tidegate/access/limits"
	"github.com/tidegate/tidegate/batch"
	"github.com/tidegate/tidegate/internal/openai"
)

// noClaim checks that no batch can be claimed.
func (e *env) noClaim() {
	e.Helper()
	c, err := e.s.ClaimBatch(e.Context(), "batch worker", lease, batch.Validate)
	if err == nil {
		e.Fatalf("batch %s was claimed", c.Batch.ID)
	}
	e.is(err, batch.ErrNotFound)
}

// useless checks that a claim has no right left.
func (e *env) useless(c batch.BatchClaim) {
	e.Helper()
	before := e.get(c.Batch)
	out := e.newFile()
	for _, err := range []error{
		e.s.RenewBatch(e.Context(), c, lease),
		e.s.ReleaseBatch(e.Context(), c),
		e.s.StartBatch(e.Context(), c, plan(1)),
		e.s.FailBatch(e.Context(), c, []openai.BatchError{{Code: "late"}}),
		e.s.FinishBatch(e.Context(), c, batch.Outcome{Output: &out, Lines: 7}),
	} {
		e.is(err, batch.ErrStale)
	}
	equal(e, "batch", e.get(c.Batch), before)
	e.fileGone(out.ID, true)
}

var finishTests = []test{
	{"a batch with something to do is claimed", func(e *env) {
		running := e.running(1)
		finalizing := e.running(1)
		e.work(finalizing, 0, 1)
		validating := e.batch(nil)
		cancelling := e.batch(nil)
		e.cancel(cancelling)
		e.ok(e.s.FailBatch(e.Context(), e.claimOf(validating), nil))
		for _, b := range []batch.Batch{finalizing, cancelling} {
			equal(e, "claimed", e.claimBatch(b.ID).Batch, e.get(b))
		}
		e.noClaim()
		equal(e, "status", e.get(running).Status, batch.InProgress)
	}},
	{"each task has its order, by priority and age", func(e *env) {
		of := func(priority int) batch.Batch { return e.batch(func(n *batch.NewBatch) { n.Priority = priority }) }
		ended := func(priority int) batch.Batch {
			b := of(priority)
			e.cancel(b)
			return b
		}
		late, other, urgent, last := of(0), of(0), of(9), of(-9)
		lateEnd, otherEnd, urgentEnd := ended(0), ended(0), ended(9)
		lastEnd := ended(-1)
		for i, want := range []struct {
			task batch.Task
			batch.Batch
		}{
			{batch.Validate, urgent},
			{batch.Finalize, urgentEnd},
			{batch.Validate, late},
			{batch.Finalize, lateEnd},
			{batch.Validate, other},
			{batch.Validate, last},
			{batch.Validate, otherEnd},
			{batch.Finalize, lastEnd},
		} {
			c, err := e.s.ClaimBatch(e.Context(), "batch worker", lease, want.task)
			e.ok(err)
			equal(e, fmt.Sprintf("claim %d", i), c.Batch.ID, want.ID)
		}
		e.noClaim()
		e.db.Advance(lease)
		c, err := e.s.ClaimBatch(e.Context(), "batch worker", lease, batch.Finalize)
		e.ok(err)
		equal(e, "claimed when leases have ended", c.Batch.ID, urgentEnd.ID)
	}},
	{"a lease that ended lets another claim", func(e *env) {
		b := e.batch(nil)
		first := e.claimBatch(b.ID)
		e.noClaim()
		e.db.Advance(lease)
		second := e.claimBatch(b.ID)
		if second.Attempt <= first.Attempt {
			e.Fatalf("attempt went from %d to %d", first.Attempt, second.Attempt)
		}
		e.useless(first)
		e.ok(e.s.StartBatch(e.Context(), second, plan(1)))
	}},
	{"a renewed claim holds on", func(e *env) {
		b := e.batch(nil)
		c := e.claimBatch(b.ID)
		for range 3 {
			e.db.Advance(lease - time.Second)
			e.noClaim()
			e.ok(e.s.RenewBatch(e.Context(), c, lease))
		}
		e.ok(e.s.StartBatch(e.Context(), c, plan(1)))
	}},
	{"a lease that ended unnoticed can be renewed and used", func(e *env) {
		b := e.batch(nil)
		c, err := e.s.ClaimBatch(e.Context(), "batch worker", 0, batch.Validate)
		e.ok(err)
		e.ok(e.s.RenewBatch(e.Context(), c, lease))
		e.noClaim()
		e.ok(e.s.StartBatch(e.Context(), c, plan(1)))
		equal(e, "status", e.get(b).Status, batch.InProgress)
	}},
	{"a released claim is stale", func(e *env) {
		b := e.batch(nil)
		c := e.claimBatch(b.ID)
		e.ok(e.s.ReleaseBatch(e.Context(), c))
		e.useless(c)
		e.useless(e.givenBack(b))
		e.claimBatch(b.ID)
	}},
	{"an unknown claim is worth nothing", func(e *env) {
		b := e.batch(nil)
		e.useless(batch.BatchClaim{Batch: b})
		c := e.claimBatch(b.ID)
		c.Attempt++
		e.useless(c)
		c.Batch.ID = "batch_unknown"
		e.is(e.s.RenewBatch(e.Context(), c, lease), batch.ErrStale)
	}},
	{"starting makes the slices", func(e *env) {
		b := e.batch(nil)
		c := e.claimBatch(b.ID)
		p := plan(64, 1, 7)
		before := e.now()
		e.ok(e.s.StartBatch(e.Context(), c, p))
		got := e.get(b)
		e.during("in progress at", got.InProgressAt, before, e.now())
		b.Status, b.Model, b.Counts.Total, b.InProgressAt = batch.InProgress, "tide-7b", 72, got.InProgressAt
		equal(e, "batch", got, b)
		var want []batch.Slice
		for i, s := range p.Slices {
			want = append(want, batch.Slice{SliceClaim: batch.SliceClaim{SliceRef: refs(b, i)[0]}, SlicePlan: s})
		}
		equal(e, "slices", e.slices(b), want)
		e.useless(c)
		equal(e, "slices after a second start", e.slices(b), want)
		e.noClaim()
	}},
	{"a plan that does not add up is refused", func(e *env) {
		b := e.batch(nil)
		c := e.claimBatch(b.ID)
		bad := make([]batch.Plan, 0, 6)
		for _, spoil := range []func(*batch.Plan){
			func(p *batch.Plan) { p.Lines++ },
			func(p *batch.Plan) { p.Slices = p.Slices[:1] },
			func(p *batch.Plan) { p.Slices[1].FirstLine++ },
			func(p *batch.Plan) { p.Slices[1].Lines = 0 },
			func(p *batch.Plan) { *p = batch.Plan{} },
			func(p *batch.Plan) { *p = plan(65) },
		} {
			p := plan(2, 3)
			spoil(&p)
			bad = append(bad, p)
		}
		for i, p := range bad {
			if err := e.s.StartBatch(e.Context(), c, p); err == nil {
				e.Fatalf("plan %d was accepted", i)
			}
		}
		equal(e, "batch", e.get(b), b)
		equal(e, "slices", e.slices(b), nil)
		e.ok(e.s.StartBatch(e.Context(), c, plan(1)))
	}},
	{"a batch over the limit of waiting lines is not started", func(e *env) {
		of := func(key string) func(*batch.NewBatch) {
			return func(n *batch.NewBatch) { n.KeyID = key }
		}
		start := func(c batch.BatchClaim, tokens int64, limits ...limits.QueueLimit) error {
			p := plan(10, 10)
			p.Tokens, p.Queue = tokens, limits
			return e.s.StartBatch(e.Context(), c, p)
		}
		e.ok(start(e.claimOf(e.batch(of("key_a"))), 400))
		lines, tokens, byKey := limits.QueueLimit{Tenant: tenant, Lines: 39}, limits.QueueLimit{Tenant: tenant, Tokens: 799}, limits.QueueLimit{Tenant: tenant, Key: "key_a", Lines: 39}
		for _, limit := range []limits.QueueLimit{lines, tokens, byKey} {
			b := e.batch(of("key_a"))
			c := e.claimOf(b)
			err := start(c, 400, limits.QueueLimit{Tenant: tenant, Lines: 40, Tokens: 800}, limit)
			var full *batch.QueueFullError
			if !errors.As(err, &full) || full.Limit != limit || full.Queued != (batch.Queued{Lines: 20, Tokens: 400}) {
				e.Fatalf("limit %+v: got %v, want the limit and what waits", limit, err)
			}
			equal(e, "batch", e.get(b), b)
			equal(e, "slices", e.slices(b), nil)
			e.ok(e.s.FailBatch(e.Context(), c, []openai.BatchError{{Code: "token_limit_exceeded"}}))
		}
		e.ok(start(e.claimOf(e.batch(of("key_b"))), 0, limits.QueueLimit{Tenant: tenant, Key: "key_b", Lines: 39}, limits.QueueLimit{Tenant: "other", Lines: 20, Tokens: 0}))
		e.ok(start(e.claimOf(e.batch(of("key_a"))), 400, limits.QueueLimit{Tenant: tenant, Key: "key_a", Lines: 40, Tokens: 800}))

		other := e.batch(func(n *batch.NewBatch) { n.Tenant = "other" })
		e.ok(start(e.claimOf(other), 60))
		own := []batch.ClientQueued{
			{Client: limits.Client{Key: "key_a", Tenant: tenant}, Queued: batch.Queued{Lines: 40, Tokens: 800}},
			{Client: limits.Client{Key: "key_b", Tenant: tenant}, Queued: batch.Queued{Lines: 20}},
		}
		queued := func(tenant string, want []batch.ClientQueued) {
			e.Helper()
			got, err := e.s.QueuedLines(e.Context(), tenant)
			e.ok(err)
			slices.SortFunc(got, func(a, b batch.ClientQueued) int {
				return cmp.Or(cmp.Compare(a.Tenant, b.Tenant), cmp.Compare(a.Key, b.Key))
			})
			equal(e, "queued lines of "+tenant, got, want)
		}
		queued(tenant, own)
		theirs := batch.ClientQueued{Client: limits.Client{Tenant: "other"}, Queued: batch.Queued{Lines: 20, Tokens: 60}}
		queued(batch.AllTenants, append(slices.Clone(own), theirs))
		queued("none", nil)
		_, err := e.s.CancelBatch(e.Context(), "other", other.ID)
		e.ok(err)
		queued("other", nil)
	}},
	{"starting with 50,000 lines", func(e *env) {
		lines := make([]int, 50_000/64+1)
		for i := range lines {
			lines[i] = 64
		}
		lines[len(lines)-1] = 50_000 % 64
		b := e.running(lines...)
		equal(e, "total", b.Counts.Total, int64(50_000))
		equal(e, "slices", len(e.slices(b)), 782)
	}},
	{"failing keeps the findings", func(e *env) {
		b := e.batch(nil)
		c := e.claimBatch(b.ID)
		param, lineNumber := "body.model", 7
		findings := []openai.BatchError{
			{Code: "model_not_found", Message: "no <such> model ☃ & more", Param: &param, Line: &lineNumber},
			{Code: "empty_file", Message: "no line"},
		}
		before := e.now()
		e.ok(e.s.FailBatch(e.Context(), c, findings))
		got := e.get(b)
		e.during("failed at", got.FailedAt, before, e.now())
		b.Status, b.Errors, b.FailedAt = batch.Failed, findings, got.FailedAt
		equal(e, "batch", got, b)
		e.useless(c)
		e.noClaim()
	}},
	{"only a validating batch starts or fails", func(e *env) {
		b := e.running(1)
		e.work(b, 0, 1)
		c := e.claimBatch(b.ID)
		before := e.get(b)
		e.is(e.s.StartBatch(e.Context(), c, plan(1)), batch.ErrStale)
		e.is(e.s.FailBatch(e.Context(), c, nil), batch.ErrStale)
		equal(e, "batch", e.get(b), before)
	}},
	{"a validating batch cannot be finished", func(e *env) {
		b := e.batch(nil)
		c := e.claimBatch(b.ID)
		out := e.newFile()
		e.is(e.s.FinishBatch(e.Context(), c, batch.Outcome{Output: &out}), batch.ErrStale)
		equal(e, "batch", e.get(b), b)
		e.fileGone(out.ID, true)
	}},
	{"finishing makes the files and ends the batch", testFinish},
	{"a batch without results has no files", func(e *env) {
		b := e.finish(e.cancel(e.running(2)), batch.Outcome{})
		equal(e, "output file", b.OutputFileID, "")
		equal(e, "error file", b.ErrorFileID, "")
	}},
	{"a batch cancelled before its validation gets its total at the end", func(e *env) {
		b := e.finish(e.cancel(e.batch(nil)), batch.Outcome{Lines: 12})
		equal(e, "counts", b.Counts, openai.RequestCounts{Total: 12})
	}},
	{"a batch that was validated keeps its total", func(e *env) {
		b := e.finish(e.cancel(e.running(3)), batch.Outcome{Lines: 12})
		equal(e, "counts", b.Counts, openai.RequestCounts{Total: 3})
	}},
	{"finishing is all or nothing", func(e *env) {
		b := e.running(1)
		e.work(b, 0, 1)
		c := e.claimBatch(b.ID)
		want := e.get(b)
		out, errs := e.newFile(), e.newFile()
		errs.ID = b.InputFileID
		if err := e.s.FinishBatch(e.Context(), c, batch.Outcome{Output: &out, Error: &errs}); err == nil {
			e.Fatal("two files have one id")
		}
		equal(e, "batch", e.get(b), want)
		e.fileGone(out.ID, true)
		e.ok(e.s.FinishBatch(e.Context(), c, batch.Outcome{Output: &out}))
	}},
}

// givenBack is a claim that was released.
func (e *env) givenBack(b batch.Batch) batch.BatchClaim {
	e.Helper()
	c := e.claimBatch(b.ID)
	e.ok(e.s.ReleaseBatch(e.Context(), c))
	return c
}

// testFinish ends batches in all three ways.
func testFinish(e *env) {
	ways := map[batch.Status]func(batch.Batch){
		batch.Completed: func(b batch.Batch) { e.work(b, 0, 4) },
		batch.Cancelled: func(b batch.Batch) { e.commit(e.claim(b, 0), 0, 3); e.cancel(b) },
		batch.Expired: func(b batch.Batch) {
			e.commit(e.claim(b, 0), 0, 3)
			e.db.Advance(24 * time.Hour)
			e.expire(b.ID)
		},
	}
	for ending, end := range ways {
		b := e.running(4)
		end(b)
		want := e.get(b)
		equal(e, "ending", want.Ending, ending)
		c := e.claimBatch(b.ID)
		equal(e, "claimed", c.Batch, want)
		out, errs := e.newFile(), e.newFile()
		out.Purpose, errs.Purpose = openai.PurposeBatchOutput, openai.PurposeBatchOutput
		out.TTL, errs.TTL = time.Hour, 2*time.Hour
		before := e.now()
		e.ok(e.s.FinishBatch(e.Context(), c, batch.Outcome{Output: &out, Error: &errs}))
		got := e.get(b)
		var at time.Time
		switch ending {
		case batch.Completed:
			at, want.CompletedAt = got.CompletedAt, got.CompletedAt
		case batch.Cancelled:
			at, want.CancelledAt = got.CancelledAt, got.CancelledAt
		default:
			at, want.ExpiredAt = got.ExpiredAt, got.ExpiredAt
		}
		e.during("ended at", at, before, e.now())
		want.Status, want.OutputFileID, want.ErrorFileID = ending, out.ID, errs.ID
		equal(e, "batch", got, want)
		for _, n := range []batch.NewFile{out, errs} {
			f, err := e.s.File(e.Context(), tenant, n.ID)
			e.ok(err)
			e.during("file created at", f.CreatedAt, before, e.now())
			equal(e, "file", f, batch.File{
				ID: n.ID, Tenant: tenant, Key: n.Key, Filename: n.Filename, Purpose: n.Purpose, Bytes: n.Bytes, SHA256: n.SHA256,
				CreatedAt: f.CreatedAt, ExpiresAt: f.CreatedAt.Add(n.TTL),
			})
		}
		e.useless(c)
		e.noClaim()
	}
}
