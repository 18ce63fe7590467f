package storetest

import (
	"time"

	"github.com/tidegate/tidegate/batch"
)

// keep releases a slice except some of its lines.
func (e *env) keep(c batch.SliceClaim, indices ...int) {
	e.Helper()
	r := batch.Release{SliceClaim: c}
	for _, i := range indices {
		r.Keep |= 1 << i
	}
	e.ok(e.s.ReleaseSlices(e.Context(), []batch.Release{r}, lease))
}

// claimAs has another claim a slice, nil when it cannot.
func (e *env) claimAs(owner string, b batch.Batch, number int) *batch.Slice {
	e.Helper()
	got, err := e.s.ClaimSlices(e.Context(), batch.Claimant{Owner: owner, Lease: lease}, refs(b, number))
	e.ok(err)
	if len(got) == 0 {
		return nil
	}
	return &got[0]
}

// taken claims a free slice and returns the lines that must not run.
func (e *env) taken(owner string, b batch.Batch, number int) (batch.SliceClaim, uint64) {
	e.Helper()
	s := e.claimAs(owner, b, number)
	if s == nil {
		e.Fatalf("slice %d could not be claimed by %s", number, owner)
	}
	return s.SliceClaim, s.Done | s.Kept
}

// staleWrite reports whether a write of lines is refused.
func (e *env) staleWrite(c batch.SliceClaim, indices ...int) bool {
	e.Helper()
	stale, err := e.s.CommitResults(e.Context(), []batch.SegmentWrite{write(c, indices...)})
	e.ok(err)
	return len(stale) > 0
}

// claimable lists the slices that can be claimed.
func (e *env) claimable(b batch.Batch) []int {
	e.Helper()
	numbers, err := e.s.ClaimableSlices(e.Context(), b.ID, 10)
	e.ok(err)
	return numbers
}

var keptTests = []test{
	{"kept lines are done under the old claim, and the rest under another", func(e *env) {
		b := e.running(64, 63)
		for number, lines := range []int{64, 63} {
			first := e.claim(b, number)
			e.commit(first, 0)
			e.keep(first, 1, lines-1)
			e.commit(first, 1)
			second, taken := e.taken("other", b, number)
			equal(e, "attempt", second.Attempt, first.Attempt+1)
			equal(e, "lines not to be run", taken, 0b11|uint64(1)<<(lines-1))
			equal(e, "a released line is refused", e.staleWrite(first, 2), true)
			equal(e, "so is one beside a line that was kept", e.staleWrite(first, lines-1, 2), true)
			e.commit(second, upTo(lines - 1)[2:]...)
			e.commit(first, lines-1)
			e.commit(first, lines-1) // once more
			equal(e, "results", len(e.results(b, number)), lines)
		}
		equal(e, "status", e.get(b).Status, batch.Finalizing)
		equal(e, "usage", e.get(b).Usage.InputTokens, int64(10*(64*65/2+63*64/2)))
	}},
	{"a slice in which all that is left is kept waits for that", func(e *env) {
		for _, lines := range []int{3, 63, 64} {
			b := e.running(lines)
			first := e.claim(b, 0)
			e.keep(first, lines-1)
			second, _ := e.taken("other", b, 0)
			e.commit(second, upTo(lines-1)...)
			e.ok(e.s.ReleaseSlices(e.Context(), whole(second), lease))
			equal(e, "claimable slices", e.claimable(b), nil)
			equal(e, "claim", e.claimAs("third", b, 0), nil)
			e.commit(first, lines-1)
			equal(e, "status", e.get(b).Status, batch.Finalizing)
		}
	}},
	{"lines are kept for as long as a lease, which is renewed", func(e *env) {
		b := e.running(3)
		first := e.claim(b, 0)
		e.keep(first, 2)
		second, _ := e.taken("other", b, 0)
		e.commit(second, 0, 1)
		e.ok(e.s.ReleaseSlices(e.Context(), whole(second), lease))
		e.db.Advance(lease - time.Second)
		lost, err := e.s.RenewSlices(e.Context(), []batch.SliceClaim{first}, lease)
		e.ok(err)
		equal(e, "lost claims", lost, nil)
		e.db.Advance(lease - time.Second)
		equal(e, "claim", e.claimAs("third", b, 0), nil)
		e.db.Advance(2 * time.Second)
		numbers, err := e.s.LapsedSlices(e.Context(), b.ID, 10)
		e.ok(err)
		equal(e, "lapsed slices", numbers, []int{0})
		third, taken := e.taken("third", b, 0)
		equal(e, "lines not to be run", taken, 0b11)
		equal(e, "a line that was kept too long is refused", e.staleWrite(first, 2), true)
		lost, err = e.s.RenewSlices(e.Context(), []batch.SliceClaim{first}, lease)
		e.ok(err)
		equal(e, "lost claims", lost, []batch.SliceClaim{first})
		e.commit(third, 2)
		equal(e, "status", e.get(b).Status, batch.Finalizing)
	}},
	{"kept lines whose lease ended unnoticed still count", func(e *env) {
		b := e.running(2)
		first := e.claim(b, 0)
		e.keep(first, 1)
		second, _ := e.taken("other", b, 0)
		e.db.Advance(2 * lease)
		e.commit(first, 1)
		e.commit(second, 0)
		equal(e, "status", e.get(b).Status, batch.Finalizing)
	}},
	{"who is patient leaves kept lines alone although their lease has ended", func(e *env) {
		b := e.running(2)
		first := e.claim(b, 0)
		e.keep(first, 1)
		e.db.Advance(2 * lease)
		got, err := e.s.ClaimSlices(e.Context(), batch.Claimant{Owner: "other", Lease: lease, Patient: true}, refs(b, 0))
		e.ok(err)
		equal(e, "claimed", len(got), 1)
		equal(e, "kept lines", got[0].Kept, 0b10)
		e.commit(first, 1)
	}},
	{"kept lines are released", func(e *env) {
		b := e.running(3, 3)
		for number := range 2 {
			first := e.claim(b, number)
			e.keep(first, 1, 2)
			e.commit(first, 1)
			second, _ := e.taken("other", b, number)
			e.commit(second, 0)
			if number == 0 { // before the other has ended its part, and after
				e.ok(e.s.ReleaseSlices(e.Context(), whole(first), lease))
				equal(e, "claim of what the other has", e.claimAs("third", b, number), nil)
			}
			e.ok(e.s.ReleaseSlices(e.Context(), whole(second), lease))
			e.ok(e.s.ReleaseSlices(e.Context(), whole(first), lease))
			equal(e, "claimable slices", e.claimable(b), []int{0, 1}[number:])
			third, taken := e.taken("third", b, number)
			equal(e, "lines not to be run", taken, 0b11)
			equal(e, "a released line is refused", e.staleWrite(first, 2), true)
			e.commit(third, 2)
		}
		equal(e, "status", e.get(b).Status, batch.Finalizing)
	}},
	{"lines are kept by one at a time", func(e *env) {
		b := e.running(3)
		first := e.claim(b, 0)
		e.keep(first, 2)
		second, _ := e.taken("other", b, 0)
		e.keep(second, 1) // skipped: the claim keeps the whole slice
		equal(e, "claimable slices", e.claimable(b), nil)
		e.commit(second, 0, 1)
		e.commit(first, 2)
		equal(e, "status", e.get(b).Status, batch.Finalizing)
	}},
	{"a release of unknown outcome is repeated", func(e *env) {
		b := e.running(3, 3, 3)
		divided, released, late := e.claim(b, 0), e.claim(b, 1), e.claim(b, 2)
		e.commit(late, 2) // before its release arrives
		e.keep(late, 2)
		again := func() {
			e.keep(divided, 2)
			e.ok(e.s.ReleaseSlices(e.Context(), whole(released), lease))
		}
		again()
		again()
		for number, want := range []uint64{0b100, 0, 0b100} {
			other, taken := e.taken("other", b, number)
			equal(e, "lines not to be run", taken, want)
			again()
			equal(e, "claim of what the other has", e.claimAs("third", b, number), nil)
			e.commit(other, 0, 1)
			if number == 1 {
				e.commit(other, 2)
			}
		}
		lost, err := e.s.RenewSlices(e.Context(), []batch.SliceClaim{divided}, lease)
		e.ok(err)
		equal(e, "lost claims", lost, nil)
		e.commit(divided, 2)
		equal(e, "status", e.get(b).Status, batch.Finalizing)
	}},
	{"lines kept under a claim that does not hold are not kept", func(e *env) {
		b := e.running(2)
		first := e.claim(b, 0)
		e.db.Advance(2 * lease)
		second, _ := e.taken("other", b, 0)
		e.keep(first, 1)
		e.ok(e.s.ReleaseSlices(e.Context(), whole(second), lease))
		_, taken := e.taken("third", b, 0)
		equal(e, "lines not to be run", taken, 0)
	}},
	{"opening releases kept lines of an exclusive store only", func(e *env) {
		b := e.running(3)
		first := e.claim(b, 0)
		e.keep(first, 2)
		e.reopen()
		_, taken := e.taken("other", b, 0)
		if e.db.Exclusive {
			equal(e, "lines not to be run", taken, 0)
			equal(e, "a kept line is refused", e.staleWrite(first, 2), true)
			return
		}
		equal(e, "lines not to be run", taken, 0b100)
		e.commit(first, 2)
	}},
	{"nothing is kept of a batch that is over", func(e *env) {
		b := e.running(2)
		first := e.claim(b, 0)
		e.keep(first, 1)
		_, err := e.s.CancelBatch(e.Context(), tenant, b.ID)
		e.ok(err)
		equal(e, "a kept line is refused", e.staleWrite(first, 1), true)
		lost, err := e.s.RenewSlices(e.Context(), []batch.SliceClaim{first}, lease)
		e.ok(err)
		equal(e, "lost claims", lost, []batch.SliceClaim{first})
	}},
}
