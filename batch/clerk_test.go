package batch_test

import (
	"sync"
	"testing"
	"time"

	"github.com/tidegate/tidegate/batch"
)

// Who takes longer than a lease to write the results of a batch keeps it: no
// other writes them too.
func TestSlowFinalizerKeepsItsBatch(t *testing.T) {
	const (
		lease = 2 * time.Second
		renew = lease / 10
	)
	s := newStreet(t, batch.Config{Lease: lease, LeaseRenew: renew}, 2)
	gate := make(chan struct{})
	open := sync.OnceFunc(func() { close(gate) })
	t.Cleanup(open)
	wait := func() { <-gate }
	s.store.results.Store(&wait)
	h := s.houses[0]
	id := h.create(h.upload(input(100)))
	until(t, "it is over", func() bool { return h.get(id).Status == batch.Finalizing })
	until(t, "the claim is renewed for two leases", func() bool { return s.store.renewals.Load() > int64(2*lease/renew) })
	open()
	b := h.wait(id)
	h.check(b, 100)
	if n := s.store.claims.Load(); n != 2 { // to validate it, and to write its results
		t.Errorf("it was claimed %d times", n)
	}
}
