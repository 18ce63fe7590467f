package engine_test

import (
	"context"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tidegate/tidegate/batch"
	"github.com/tidegate/tidegate/batch/batchtest"
)

// Engines that share a store share the work, and nothing is done twice.
func TestEnginesShareABatch(t *testing.T) {
	t.Parallel()
	const lines = 2000
	s := batchtest.NewCluster(t, batch.Config{MaxInFlight: 64}, 3)
	gate := make(chan struct{})
	for _, h := range s.Members {
		h.Pool.Answer = batchtest.Behind(gate)
	}
	id := s.Members[0].Create(s.Members[0].Upload(batchtest.Input(lines)))
	for _, h := range s.Members {
		batchtest.Until(t, "every engine has lines", func() bool { return h.Pool.InFlight() > 0 })
	}
	close(gate)
	b := s.Members[0].Wait(id)
	s.Members[0].Check(b, lines)
	s.WantOnce(lines)
}

// An engine that stops releases at once the slices that it has not begun, while lines
// that run still finish.
func TestDrainHandsBackAtOnce(t *testing.T) {
	t.Parallel()
	const lines = 1000
	s := batchtest.NewCluster(t, batch.Config{MaxInFlight: 10}, 2)
	leaving, staying := s.Members[0], s.Members[1]
	staying.Pool.Set(func() { staying.Pool.Limit = 0 })
	leaving.Pool.Received = make(chan string, lines)
	answer, open := batchtest.First(0)
	leaving.Pool.Answer = answer
	id := leaving.Create(leaving.Upload(batchtest.Input(lines)))
	for range 10 {
		<-leaving.Pool.Received
	}
	stopped := make(chan struct{})
	go func() {
		defer close(stopped)
		leaving.Close(batchtest.Patience)
	}()
	staying.Pool.Set(func() { staying.Pool.Limit = 10 })
	// All but the ten lines, which still run.
	staying.WaitCounted(id, lines-10)
	open()
	<-stopped
	b := staying.Wait(id)
	staying.Check(b, lines)
	s.WantOnce(lines)
}

// What a gateway that died has left lying is taken over when its lease has
// ended, however much new work there is.
func TestTakeOverBesideABacklog(t *testing.T) {
	t.Parallel()
	const lines, left = 6000, 2 // slice of the one that dies
	s := batchtest.NewCluster(t, batch.Config{MaxInFlight: 10}, 1)
	h := s.Members[0]
	h.Pool.Set(func() { h.Pool.Limit = 0 })
	var calls, before atomic.Int64
	h.Pool.Answer = func(_ context.Context, id string, _ int) (batch.Answer, error) {
		n := calls.Add(1)
		if id == batchtest.CustomID(left*batch.SliceLines) {
			before.Store(n)
		}
		time.Sleep(15 * time.Millisecond) // so that the backlog lasts
		return batchtest.OK(id), nil
	}
	id := h.Create(h.Upload(batchtest.Input(lines)))
	batchtest.Until(t, "the batch is planned", func() bool { return h.Get(id).Status == batch.InProgress })
	claimed, err := s.Store.Store.ClaimSlices(t.Context(), batch.Claimant{Owner: "dying", Lease: 3 * time.Second}, []batch.SliceRef{{BatchID: id, Number: left}})
	if err != nil || len(claimed) != 1 {
		t.Fatalf("claimed %d slices: %v", len(claimed), err)
	}
	h.Pool.Set(func() { h.Pool.Limit = 10 })
	b := h.Wait(id)
	h.Check(b, lines)
	s.WantOnce(lines)
	if n := before.Load(); n > lines-500 {
		t.Errorf("its line was the %d. of %d that ran", n, lines)
	}
}

// Once a lease may have ended nothing more is begun, for another may have: not
// before it is renewed.
func TestNothingBeginsWithoutALease(t *testing.T) {
	t.Parallel()
	const (
		lines = 200
		some  = 10
		lease = 600 * time.Millisecond
	)
	s := batchtest.NewCluster(t, batch.Config{MaxInFlight: lines, Lease: lease}, 1)
	h := s.Members[0]
	gate := make(chan struct{})
	h.Pool.Set(func() { h.Pool.Limit, h.Pool.Answer = some, batchtest.Behind(gate) })
	id := h.Create(h.Upload(batchtest.Input(lines)))
	batchtest.Until(t, "some lines run", func() bool { return len(s.Calls()) == some })
	s.Store.Slow.Store(true) // leases are not renewed any more
	s.WaitLapsed(id, 1)
	seen := s.Store.Refreshes.Load()
	close(gate)
	batchtest.Until(t, "the slots are free", func() bool {
		h.Pool.Lock()
		defer h.Pool.Unlock()
		return h.Pool.Running == 0
	})
	batchtest.Until(t, "it has looked for work", func() bool { return s.Store.Refreshes.Load() >= seen+2 })
	if begun := len(s.Calls()); begun != some {
		t.Errorf("%d lines were begun, %d of them without a lease", begun, begun-some)
	}
	s.Store.Slow.Store(false)
	h.Check(h.Wait(id), lines)
	s.WantOnce(lines)
}

// A gateway drops its in-memory queues of batches that another gateway finalizes when these
// have ended.
func TestQueuesForgetWhatIsOver(t *testing.T) {
	t.Parallel()
	s := batchtest.NewCluster(t, batch.Config{MaxInFlight: 10}, 2)
	for _, h := range s.Members {
		h.Pool.Set(func() { h.Pool.Limit = 0 })
	}
	in := s.Members[0].Upload(batchtest.Input(2000))
	var ids []string
	for range 16 {
		ids = append(ids, s.Members[0].Create(in))
	}
	for i, id := range ids {
		h := s.Members[i%2]
		batchtest.Until(t, "it is planned", func() bool { return h.Get(id).Status == batch.InProgress })
		if _, err := h.Engine.CancelBatch(t.Context(), tenant, id); err != nil {
			t.Fatal(err)
		}
	}
	for _, id := range ids {
		s.Members[0].Wait(id)
	}
	seen := s.Store.Refreshes.Load()
	batchtest.Until(t, "both have looked often enough", func() bool { return s.Store.Refreshes.Load() >= seen+10 })
	for i, h := range s.Members {
		for _, id := range ids {
			if left, err := h.NewQueue().Pop(t.Context(), id, 1000); err != nil || len(left) > 0 {
				t.Errorf("gateway %d has %d slices of a batch that is over, %v", i, len(left), err)
			}
		}
	}
}

// Notifications of the store wake the loops that look for work.
func TestStoreWakes(t *testing.T) {
	t.Parallel()
	s := batchtest.NewCluster(t, batch.Config{}, 1)
	for range 3 {
		s.Store.Changes <- struct{}{} // taken, not kept
	}
}
