package engine_test

import (
	"testing"

	"github.com/tidegate/tidegate/batch"
)

// While other engines are idle one takes no more than it can soon run: they get
// the rest.
func TestLeavesWorkToIdleOthers(t *testing.T) {
	const slices, few = 40, 4
	s := newStreet(t, batch.Config{}, 2)
	hold := gate{make(chan struct{})}
	one, other := s.houses[0], s.houses[1]
	one.pool.set(func() { one.pool.slots, one.pool.answer, one.pool.idle = batch.SliceLines, hold.answer, true })
	other.pool.set(func() { other.pool.slots, other.pool.answer = 0, hold.answer })
	id := one.create(one.upload(input(slices * batch.SliceLines)))
	until(t, "one to fill its slots", func() bool { return one.inFlight() == batch.SliceLines })
	other.pool.set(func() { other.pool.slots = slices * batch.SliceLines })
	until(t, "the other to have most", func() bool { return other.inFlight() >= (slices-few)*batch.SliceLines })
	close(hold.open)
	one.check(one.wait(id), slices*batch.SliceLines)
	s.wantOnce(t, slices*batch.SliceLines)
}

// What an engine has read far ahead it hands back when others become idle.
func TestHandsBackToIdleOthers(t *testing.T) {
	const slices, keeps = 8, 1 // the slice that it runs
	s := newStreet(t, batch.Config{}, 1)
	hold := gate{make(chan struct{})}
	one := s.houses[0]
	one.pool.set(func() { one.pool.slots, one.pool.answer = batch.SliceLines, hold.answer })
	id := one.create(one.upload(input(slices * batch.SliceLines)))
	until(t, "one to have all", func() bool {
		claimable, err := s.store.ClaimableSlices(t.Context(), id, slices)
		return err == nil && len(claimable) == 0 && one.inFlight() == batch.SliceLines
	})
	other := s.join(t, batch.Config{})
	other.pool.set(func() { other.pool.answer = hold.answer })
	one.pool.set(func() { one.pool.idle = true })
	until(t, "the other to have what is handed back", func() bool { return other.inFlight() == (slices-keeps)*batch.SliceLines })
	close(hold.open)
	one.check(one.wait(id), slices*batch.SliceLines)
	s.wantOnce(t, slices*batch.SliceLines)
}
