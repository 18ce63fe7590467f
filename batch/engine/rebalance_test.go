package engine_test

import (
	"testing"

	"github.com/tidegate/tidegate/batch"
	"github.com/tidegate/tidegate/batch/batchtest"
)

// While other engines are idle one takes no more than it can soon run: they get
// the rest.
func TestLeavesWorkToIdleOthers(t *testing.T) {
	t.Parallel()
	const slices, few = 40, 4
	s := batchtest.NewCluster(t, batch.Config{}, 2)
	hold := make(chan struct{})
	one, other := s.Members[0], s.Members[1]
	one.Pool.Set(func() {
		one.Pool.Limit, one.Pool.Answer, one.Pool.OthersAreIdle = batch.SliceLines, batchtest.Behind(hold), true
	})
	other.Pool.Set(func() { other.Pool.Limit, other.Pool.Answer = 0, batchtest.Behind(hold) })
	id := one.Create(one.Upload(batchtest.Input(slices * batch.SliceLines)))
	batchtest.Until(t, "one to fill its slots", func() bool { return one.Pool.InFlight() == batch.SliceLines })
	other.Pool.Set(func() { other.Pool.Limit = slices * batch.SliceLines })
	batchtest.Until(t, "the other to have most", func() bool { return other.Pool.InFlight() >= (slices-few)*batch.SliceLines })
	close(hold)
	one.Check(one.Wait(id), slices*batch.SliceLines)
	s.WantOnce(slices * batch.SliceLines)
}

// An engine releases slices that it has read far ahead when other gateways become idle.
func TestHandsBackToIdleOthers(t *testing.T) {
	t.Parallel()
	const slices, keeps = 8, 1 // the slice that it runs
	s := batchtest.NewCluster(t, batch.Config{}, 1)
	hold := make(chan struct{})
	one := s.Members[0]
	one.Pool.Set(func() { one.Pool.Limit, one.Pool.Answer = batch.SliceLines, batchtest.Behind(hold) })
	id := one.Create(one.Upload(batchtest.Input(slices * batch.SliceLines)))
	batchtest.Until(t, "one to have all", func() bool {
		claimable, err := s.Store.ClaimableSlices(t.Context(), id, slices)
		return err == nil && len(claimable) == 0 && one.Pool.InFlight() == batch.SliceLines
	})
	other := s.Join(batch.Config{})
	other.Pool.Set(func() { other.Pool.Answer = batchtest.Behind(hold) })
	one.Pool.Set(func() { one.Pool.OthersAreIdle = true })
	batchtest.Until(t, "the other to run the released slices", func() bool { return other.Pool.InFlight() == (slices-keeps)*batch.SliceLines })
	close(hold)
	one.Check(one.Wait(id), slices*batch.SliceLines)
	s.WantOnce(slices * batch.SliceLines)
}
