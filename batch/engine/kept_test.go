package engine_test

import (
	"context"
	"testing"
	"time"

	"github.com/tidegate/tidegate/batch"
	"github.com/tidegate/tidegate/batch/batchtest"
)

// Lines that a stopping engine kept but did not finish are run by another engine: lines
// that it aborts when its drain time ends, and lines that failed with a temporary error.
func TestKeptLinesAreNotLost(t *testing.T) {
	t.Parallel()
	const lines, running = 100, 10
	for name, aborted := range map[string]bool{"aborted": true, "failed": false} {
		t.Run(name, func(t *testing.T) {
			s := batchtest.NewCluster(t, batch.Config{MaxInFlight: running, Lease: time.Hour}, 2)
			leaving, staying := s.Members[0], s.Members[1]
			staying.Pool.Set(func() { staying.Pool.Limit = 0 })
			leaving.Pool.Received = make(chan string, lines)
			open := make(chan struct{})
			leaving.Pool.Answer = func(ctx context.Context, _ string, _ int) (batch.Answer, error) {
				if aborted {
					<-ctx.Done()
					return batch.Answer{}, ctx.Err()
				}
				<-open
				return batchtest.Status(503, `{}`), nil
			}
			id := leaving.Create(leaving.Upload(batchtest.Input(lines)))
			for range running {
				<-leaving.Pool.Received
			}
			staying.Pool.Set(func() { staying.Pool.Limit = running })
			ctx, stop := context.WithCancel(context.Background())
			stopped := make(chan error)
			go func() { stopped <- leaving.Engine.Stop(ctx) }()
			staying.WaitCounted(id, lines-running)
			close(open)
			if aborted {
				stop()
			}
			if err := <-stopped; err != nil {
				t.Error(err)
			}
			stop()
			leaving.Engine = nil
			b := staying.Wait(id)
			staying.Check(b, lines)
			again := 0
			for _, n := range s.Calls() {
				again += n - 1
			}
			if again != running {
				t.Errorf("%d calls repeated, want the %d that came to nothing", again, running)
			}
		})
	}
}

// Lines that a gateway kept which died are run again when its lease has ended.
func TestKeptLinesOfTheDead(t *testing.T) {
	t.Parallel()
	const lines, left = 300, 2 // slice that it has parted with
	s := batchtest.NewCluster(t, batch.Config{MaxInFlight: 10}, 1)
	h := s.Members[0]
	h.Pool.Set(func() { h.Pool.Limit = 0 })
	id := h.Create(h.Upload(batchtest.Input(lines)))
	batchtest.Until(t, "the batch is planned", func() bool { return h.Get(id).Status == batch.InProgress })
	claimed, err := s.Store.Store.ClaimSlices(t.Context(), batch.Claimant{Owner: "dying", Lease: time.Hour}, []batch.SliceRef{{BatchID: id, Number: left}})
	if err != nil || len(claimed) != 1 {
		t.Fatalf("claimed %d slices: %v", len(claimed), err)
	}
	kept := []batch.Release{{SliceClaim: claimed[0].SliceClaim, Keep: 0b1011}}
	if err := s.Store.Store.ReleaseSlices(t.Context(), kept, time.Hour); err != nil {
		t.Fatal(err)
	}
	h.Pool.Set(func() { h.Pool.Limit = 10 })
	h.WaitCounted(id, lines-3)
	calls := s.Calls()
	for _, i := range []int{0, 1, 3} {
		if line := batchtest.CustomID(left*batch.SliceLines + i); calls[line] != 0 {
			t.Errorf("%s ran although another kept it", line)
		}
	}
	if lost, err := s.Store.Store.RenewSlices(t.Context(), []batch.SliceClaim{claimed[0].SliceClaim}, time.Millisecond); err != nil || len(lost) > 0 {
		t.Fatalf("shortening the lease of the kept lines: lost %v, %v", lost, err)
	}
	b := h.Wait(id)
	h.Check(b, lines)
	s.WantOnce(lines)
}
