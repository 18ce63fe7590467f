package engine_test

import (
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tidegate/tidegate/batch"
	"github.com/tidegate/tidegate/batch/batchtest"
)

// Who takes longer than a lease to write the results of a batch keeps it: no
// other writes them too.
func TestSlowFinalizerKeepsItsBatch(t *testing.T) {
	t.Parallel()
	const (
		lease = 5 * time.Second // a loaded disk stands still for less
		renew = lease / 10
	)
	s := batchtest.NewCluster(t, batch.Config{Lease: lease, LeaseRenew: renew}, 2)
	gate := make(chan struct{})
	open := sync.OnceFunc(func() { close(gate) })
	t.Cleanup(open)
	wait := func() { <-gate }
	s.Store.BeforeResults.Store(&wait)
	h := s.Members[0]
	id := h.Create(h.Upload(batchtest.Input(100)))
	batchtest.Until(t, "it is over", func() bool { return h.Get(id).Status == batch.Finalizing })
	batchtest.Until(t, "the claim is renewed for two leases, or another has it", func() bool {
		return s.Store.Renewals.Load() > int64(2*lease/renew) || s.Store.Claims.Load() > 2
	})
	open()
	b := h.Wait(id)
	h.Check(b, 100)
	if n := s.Store.Claims.Load(); n != 2 { // to validate it, and to write its results
		t.Errorf("it was claimed %d times, want 2", n)
	}
}

// A new batch does not wait until all that have ended are written.
func TestNewBatchGoesBetween(t *testing.T) {
	t.Parallel()
	const ending = 30
	h := newHarness(t, batch.Config{MaxConcurrentBatches: ending})
	lines := make(chan struct{})
	h.Pool.Answer = batchtest.Behind(lines)
	h.Open()
	var reached atomic.Int64
	results := make(chan struct{})
	open := sync.OnceFunc(func() { close(results) })
	t.Cleanup(open)
	wait := func() { reached.Add(1); <-results }
	h.Store.BeforeResults.Store(&wait)
	file := h.Upload(batchtest.Input(2))
	is := func(status batch.Status, ids ...string) func() bool {
		return func() bool {
			return !slices.ContainsFunc(ids, func(id string) bool { return h.Get(id).Status != status })
		}
	}
	ids := make([]string, ending)
	for i := range ids {
		ids[i] = h.Create(file)
	}
	batchtest.Until(t, "all to run", is(batch.InProgress, ids...))
	close(lines)
	batchtest.Until(t, "all to be over", is(batch.Finalizing, ids...))
	batchtest.Until(t, "one to be written", func() bool { return reached.Load() > 0 })

	fresh := h.Create(file)
	waits := is(batch.Validating, fresh)
	written := 0
	for waits() && written < ending {
		before := reached.Load()
		results <- struct{}{}
		written++
		batchtest.Until(t, "the worker to continue", func() bool { return reached.Load() > before || !waits() })
	}
	if written > ending/2 {
		t.Errorf("%d of %d batches that had ended were written before a new one was validated", written, ending)
	}
	open()
	for _, id := range append(ids, fresh) {
		h.Check(h.Wait(id), 2)
	}
}

// TestModelsToldLate has upstreams whose models are not all discovered. Batches that need
// one of these models wait, the others do not.
func TestModelsToldLate(t *testing.T) {
	t.Parallel()
	h := newHarness(t, batch.Config{})
	h.Pool.Discovered = false
	h.Open()
	late := h.Create(h.Upload(batchtest.InputFor(70, "late")))
	if b := h.Wait(h.Create(h.Upload(batchtest.Input(70)))); b.Status != batch.Completed {
		t.Errorf("a batch of a model that is known: %s", b.Status)
	}
	if b, err := h.Engine.Batch(t.Context(), tenant, late); err != nil || b.Status != batch.Validating {
		t.Errorf("a batch of one that is not: %s, %v", b.Status, err)
	}
	// A worker waits only briefly for the model. The batch reports what it waits for, and
	// is validated again later.
	batchtest.Until(t, "the batch waits, and says for what", func() bool {
		return strings.Contains(strings.Join(h.Engine.Health(t.Context()).Paused.Texts(), " "), `no upstream serves the model "late" yet`)
	})
	h.Pool.Set(func() { h.Pool.Models["late"] = true })
	if b := h.Wait(late); b.Status != batch.Completed {
		t.Errorf("a batch of a model that was discovered: %s %v", b.Status, b.Errors)
	}
	never := h.Create(h.Upload(batchtest.InputFor(70, "never")))
	h.Pool.Set(func() { h.Pool.Discovered = true })
	if b := h.Wait(never); b.Status != batch.Failed || len(b.Errors) != 70 || b.Errors[0].Code != "model_not_found" {
		t.Errorf("a batch of an unknown model: got %s and errors %v, want failed and model_not_found for each line", b.Status, b.Errors)
	}
}
