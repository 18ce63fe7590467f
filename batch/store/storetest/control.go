package storetest

import (
	"time"

	"github.com/tidegate/tidegate/batch"
)

// pause pauses a batch.
func (e *env) pause(b batch.Batch) batch.Batch {
	e.Helper()
	b, err := e.s.PauseBatch(e.Context(), b.Tenant, b.ID, "")
	e.ok(err)
	return b
}

// uncontrollable makes a batch in every state in which it cannot be paused.
func (e *env) uncontrollable() []batch.Batch {
	e.Helper()
	cancelling := e.batch(nil)
	_, err := e.s.CancelBatch(e.Context(), tenant, cancelling.ID)
	e.ok(err)
	finalizing := e.running(1)
	e.work(finalizing, 0, 1)
	return []batch.Batch{e.expired(), e.completed(nil), e.cancelled(), e.failed(), e.get(cancelling), e.get(finalizing)}
}

var controlTests = []test{
	{"no slice of a paused batch can be claimed, and claims stay valid", func(e *env) {
		b := e.running(4, 4)
		held := e.claim(b, 0)
		before := e.now()
		paused := e.pause(b)
		e.during("paused at", paused.PausedAt, before, e.now())
		want := b
		want.PausedAt = paused.PausedAt
		equal(e, "batch", e.get(b), want)

		numbers, err := e.s.ClaimableSlices(e.Context(), b.ID, 10)
		e.ok(err)
		equal(e, "claimable slices", numbers, nil)
		claimed, err := e.s.ClaimSlices(e.Context(), batch.Claimant{Owner: "worker", Lease: lease}, refs(b, 0, 1))
		e.ok(err)
		equal(e, "claimed slices", claimed, nil)
		lost, err := e.s.RenewSlices(e.Context(), []batch.SliceClaim{held}, lease)
		e.ok(err)
		equal(e, "lost claims", lost, nil)
		e.commit(held, 0, 1)
		e.ok(e.s.ReleaseSlices(e.Context(), whole(held), lease))
		equal(e, "completed", e.get(b).Counts.Completed, int64(2))

		e.reopen()
		equal(e, "paused after a restart", e.get(b).PausedAt, paused.PausedAt)
		resumed, err := e.s.ResumeBatch(e.Context(), tenant, b.ID)
		e.ok(err)
		equal(e, "paused at", resumed.PausedAt, time.Time{})
		numbers, err = e.s.ClaimableSlices(e.Context(), b.ID, 10)
		e.ok(err)
		equal(e, "claimable slices", numbers, []int{0, 1})
		e.claim(b, 0)
	}},
	{"pausing and resuming can be repeated", func(e *env) {
		b := e.running(1)
		first := e.pause(b)
		e.db.Advance(time.Minute)
		equal(e, "paused again", e.pause(b), first)
		for range 2 {
			got, err := e.s.ResumeBatch(e.Context(), tenant, b.ID)
			e.ok(err)
			equal(e, "resumed", got, b)
		}
	}},
	{"the reason of a pause is kept until the batch is resumed or over", func(e *env) {
		const reason = "100 lines failed in a row: 401 'no'; \u202e"
		b, c := e.running(1), e.running(1)
		for _, each := range []batch.Batch{b, c} {
			paused, err := e.s.PauseBatch(e.Context(), tenant, each.ID, reason)
			e.ok(err)
			equal(e, "reason", paused.PauseReason, reason)
		}
		equal(e, "reason of a pause that is repeated", e.pause(b).PauseReason, reason)
		e.reopen()
		active, err := e.s.ActiveBatches(e.Context(), 10)
		e.ok(err)
		for _, a := range active {
			equal(e, "reason among the active batches", a.PauseReason, reason)
		}
		resumed, err := e.s.ResumeBatch(e.Context(), tenant, b.ID)
		e.ok(err)
		equal(e, "reason after resuming", resumed.PauseReason, "")
		equal(e, "reason of the next pause", e.pause(b).PauseReason, "")
		e.db.Advance(24 * time.Hour)
		e.expire(b.ID, c.ID)
		equal(e, "reason after the end", e.get(c).PauseReason, "")
	}},
	{"a batch that is paused before its validation starts paused", func(e *env) {
		b := e.batch(nil)
		paused := e.pause(b)
		equal(e, "status", paused.Status, batch.Validating)
		b = e.start(b, 2)
		equal(e, "paused at", b.PausedAt, paused.PausedAt)
		numbers, err := e.s.ClaimableSlices(e.Context(), b.ID, 10)
		e.ok(err)
		equal(e, "claimable slices", numbers, nil)
	}},
	{"the last line of a paused batch ends it, and its pause", func(e *env) {
		b := e.running(1)
		c := e.claim(b, 0)
		e.pause(b)
		e.commit(c, 0)
		b = e.get(b)
		equal(e, "status", b.Status, batch.Finalizing)
		equal(e, "paused at", b.PausedAt, time.Time{})
	}},
	{"a paused batch expires and can be cancelled", func(e *env) {
		b, c := e.running(1), e.running(1)
		e.pause(b)
		e.pause(c)
		got, err := e.s.CancelBatch(e.Context(), tenant, c.ID)
		e.ok(err)
		equal(e, "status", got.Status, batch.Cancelling)
		equal(e, "paused at", got.PausedAt, time.Time{})
		e.db.Advance(24 * time.Hour)
		e.expire(b.ID)
		equal(e, "paused at", e.get(b).PausedAt, time.Time{})
	}},
	{"a batch that is over cannot be paused, resumed or given a priority", func(e *env) {
		for _, b := range e.uncontrollable() {
			for _, change := range []func() (batch.Batch, error){
				func() (batch.Batch, error) { return e.s.PauseBatch(e.Context(), tenant, b.ID, "") },
				func() (batch.Batch, error) { return e.s.ResumeBatch(e.Context(), tenant, b.ID) },
				func() (batch.Batch, error) { return e.s.PrioritizeBatch(e.Context(), tenant, b.ID, 7) },
			} {
				got, err := change()
				e.is(err, batch.ErrConflict)
				equal(e, "batch returned", got, b)
				equal(e, "batch", e.get(b), b)
			}
		}
	}},
	{"what is not there, or another tenant's, cannot be controlled", func(e *env) {
		b := e.running(1)
		for _, who := range [][2]string{{tenant, "batch_unknown"}, {rival, b.ID}} {
			_, err := e.s.PauseBatch(e.Context(), who[0], who[1], "")
			e.is(err, batch.ErrNotFound)
			_, err = e.s.ResumeBatch(e.Context(), who[0], who[1])
			e.is(err, batch.ErrNotFound)
			_, err = e.s.PrioritizeBatch(e.Context(), who[0], who[1], 1)
			e.is(err, batch.ErrNotFound)
		}
		equal(e, "batch", e.get(b), b)
	}},
	{"active batches: larger priorities first, paused ones last", func(e *env) {
		low, high, held, middle := e.running(1), e.running(1), e.running(1), e.running(1)
		for _, p := range []struct {
			b batch.Batch
			n int
		}{{low, -5}, {high, 100}, {held, 50}} {
			got, err := e.s.PrioritizeBatch(e.Context(), tenant, p.b.ID, p.n)
			e.ok(err)
			equal(e, "priority", got.Priority, p.n)
			equal(e, "batch", e.get(p.b), got)
		}
		e.pause(held)
		active, err := e.s.ActiveBatches(e.Context(), 10)
		e.ok(err)
		var ids []string
		for _, b := range active {
			ids = append(ids, b.ID)
		}
		equal(e, "active", ids, []string{high.ID, middle.ID, low.ID, held.ID})
		equal(e, "the last one is paused", active[3].PausedAt.IsZero(), false)
	}},
	{"an idempotency key finds what it made", func(e *env) {
		b := e.batch(func(n *batch.NewBatch) { n.IdempotencyKey, n.RequestHash = "key", "hash" })
		got, err := e.s.BatchOfKey(e.Context(), tenant, "key", "hash")
		e.ok(err)
		equal(e, "batch", got, b)
		for key, want := range map[[3]string]error{
			{tenant, "key", "other"}: batch.ErrKeyReused,
			{tenant, "kex", "hash"}:  batch.ErrNotFound,
			{tenant, "", ""}:         batch.ErrNotFound,
			{rival, "key", "hash"}:   batch.ErrNotFound,
		} {
			got, err := e.s.BatchOfKey(e.Context(), key[0], key[1], key[2])
			e.is(err, want)
			equal(e, "batch returned", got, batch.Batch{})
		}
	}},
}
